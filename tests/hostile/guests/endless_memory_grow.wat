  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (loop $l
      (drop (memory.grow (i32.const 1)))
      (drop (memory.grow (i32.const -1)))
      (br $l))
    (i32.const 0))
