  ;; The newlines of Unicode, raw in a string: JSON allows them.
  (memory (export "memory") 1)
  (data (i32.const 0) "\22\e2\80\a8\c2\85\22")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 7)) (i32.const 0))
