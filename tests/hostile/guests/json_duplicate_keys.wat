  ;; Whoever reads this decides what it means.
  (memory (export "memory") 1)
  (data (i32.const 0) "{\22a\22:1,\22a\22:2,\22id\22:7}")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 20)) (i32.const 0))
