  ;; Half of a surrogate pair as an escape: JSON allows it, so it stays as it was written.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22\\ud800\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 8)) (i32.const 0))
