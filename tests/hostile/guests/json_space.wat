  ;; 16 MiB of spaces around one digit.
  (memory (export "memory") 256)
  (func (export "runnable") (result i32)
    (memory.fill (i32.const 0) (i32.const 0x20) (i32.const 0x1000000))
    (i32.store8 (i32.const 5000000) (i32.const 0x37))
    (call $output_write (i32.const 0) (i32.const 0x1000000))
    (i32.const 0))
