  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (call $input_read (i32.const 65530) (i32.const 0) (i32.const 7)))
