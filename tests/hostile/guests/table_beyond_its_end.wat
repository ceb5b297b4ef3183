  (memory (export "memory") 1)
  (table $t 10 funcref)
  (func (export "runnable") (result i32)
    (table.set $t (i32.const 10) (ref.null func)) (i32.const 0))
