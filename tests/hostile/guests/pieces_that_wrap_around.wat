  ;; 2^29 pieces of 8 bytes: in 32 bits that is nothing. Refused as too many (28).
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\10\00\00\04\00\00\00")
  (func (export "runnable") (result i32)
    (if (i32.ne (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0x20000000) (i32.const 64)) (i32.const 28))
      (then (return (i32.const 1))))
    (i32.ne (call $fd_write (i32.const 1) (i32.const 65528) (i32.const 0x20000001) (i32.const 64)) (i32.const 28)))
