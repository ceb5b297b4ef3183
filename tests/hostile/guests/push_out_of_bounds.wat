  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (i32.wrap_i64 (call $push (i32.const 0x7fffffff) (i32.const 0x7fffffff))))
