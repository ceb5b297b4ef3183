  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (call $log (i32.const 1) (i32.const -1) (i32.const -1)) (i32.const 0))
