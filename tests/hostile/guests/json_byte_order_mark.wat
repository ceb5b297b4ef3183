  ;; A byte order mark before a value.
  (memory (export "memory") 1)
  (data (i32.const 0) "\ef\bb\bf1")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 4)) (i32.const 0))
