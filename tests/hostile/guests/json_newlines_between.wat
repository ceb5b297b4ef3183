  ;; Newlines between the tokens: the record is one line all the same.
  (memory (export "memory") 1)
  (data (i32.const 0) "[\0a1,\0d\0a2\0a]\0a")
  (func (export "runnable") (result i32) (call $output_write (i32.const 0) (i32.const 10)) (i32.const 0))
