  (memory (export "memory") 1)
  (data (i32.const 0) "{}")
  (func (export "runnable") (result i32) (i32.const 0))
  (func (export "callback") (result i32) (i32.wrap_i64 (call $push (i32.const 0) (i32.const 2))))
