  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (call $input_read (i32.const -8) (i32.const 0) (i32.const 2)))
