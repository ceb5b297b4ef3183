  ;; Half of a surrogate pair as UTF-8 would write it.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22\ed\a0\80\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 5)) (i32.const 0))
