  ;; What would be a second record, if it were not within a string or refused.
  (memory (export "memory") 1)
  (data (i32.const 0) "1}\0a{\22id\22:0")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 10)) (i32.const 0))
