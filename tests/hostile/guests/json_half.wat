  ;; Half a value.
  (memory (export "memory") 1)
  (data (i32.const 0) "{\22a\22:[1,")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 8)) (i32.const 0))
