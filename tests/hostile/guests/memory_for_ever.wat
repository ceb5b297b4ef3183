  ;; Takes all that it can get, and cannot live with less.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (unreachable))
