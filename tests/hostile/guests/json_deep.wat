  ;; A million arrays, one in the other, and closed.
  (memory (export "memory") 40)
  (func (export "runnable") (result i32)
    (memory.fill (i32.const 0) (i32.const 0x5b) (i32.const 1000000))
    (memory.fill (i32.const 1000000) (i32.const 0x5d) (i32.const 1000000))
    (call $output_write (i32.const 0) (i32.const 2000000))
    (i32.const 0))
