  ;; Larger than any floating-point number.
  (memory (export "memory") 1)
  (data (i32.const 0) "1e999999999")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 11)) (i32.const 0))
