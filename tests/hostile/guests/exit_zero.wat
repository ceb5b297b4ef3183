  ;; An exit with success in the middle of a result is no success.
  (memory (export "memory") 1)
  (data (i32.const 0) "1")
  (func (export "runnable") (result i32)
    (call $output_write (i32.const 0) (i32.const 1)) (call $proc_exit (i32.const 0)) (i32.const 0))
