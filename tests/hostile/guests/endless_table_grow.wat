  ;; Up to the limit, and on: what is refused costs the host nothing.
  (memory (export "memory") 1)
  (table $t 0 funcref)
  (func (export "runnable") (result i32)
    (loop $l
      (drop (table.grow $t (ref.null func) (i32.const 1)))
      (drop (table.grow $t (ref.null func) (i32.const -1)))
      (br $l))
    (i32.const 0))
