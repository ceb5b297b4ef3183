  ;; All of the memory cap, again and again, in single instructions that nothing interrupts.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 4095)))
    (loop $l
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x10000000))
      (br $l))
    (i32.const 0))
