  ;; Random bytes for all of the memory cap at a time.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 4095)))
    (loop $l
      (drop (call $random_get (i32.const 0) (i32.const 0x10000000)))
      (br $l))
    (i32.const 0))
