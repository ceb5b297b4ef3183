  ;; Half of the memory cap onto the other half, overlapping.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 4095)))
    (loop $l
      (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xfffffff))
      (memory.copy (i32.const 0) (i32.const 1) (i32.const 0xfffffff))
      (br $l))
    (i32.const 0))
