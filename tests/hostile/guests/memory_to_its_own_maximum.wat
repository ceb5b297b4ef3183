  ;; It is its own declared maximum that stands in the way here.
  (memory (export "memory") 1 2)
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (i32.load (i32.const 131072)))
