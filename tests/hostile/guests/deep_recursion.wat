  (memory (export "memory") 1)
  (func $deeper (param i64) (result i64)
    (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func (export "runnable") (result i32) (i32.wrap_i64 (call $deeper (i64.const 0))))
