  ;; A byte that no UTF-8 has.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22\ff\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 3)) (i32.const 0))
