  ;; All of the memory cap in one write, again and again.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 4095)))
    (memory.fill (i32.const 64) (i32.const 0x78) (i32.const 0xfffffc0))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 0xfffffc0))
    (loop $l
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $l))
    (i32.const 0))
