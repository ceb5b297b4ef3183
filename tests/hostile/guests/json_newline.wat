  ;; A raw newline in a string.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22a\0ab\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 5)) (i32.const 0))
