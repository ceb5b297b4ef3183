  ;; A slash in two bytes, which UTF-8 forbids.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22\c0\af\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 4)) (i32.const 0))
