  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (v128.store (i32.const 65521) (v128.const i64x2 1 2)) (i32.const 0))
