  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.div_s (i32.const 1) (call $args_get (i32.const 0) (i32.const 0))))
