  (memory (export "memory") 1)
  (global $least (mut i64) (i64.const 0x8000000000000000))
  (func (export "runnable") (result i32)
    (i32.wrap_i64 (i64.div_s (global.get $least) (i64.const -1))))
