  ;; A value, and something more.
  (memory (export "memory") 1)
  (data (i32.const 0) "1 2")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 3)) (i32.const 0))
