  ;; Address and length add up to 0 in 32 bits.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (call $output_write (i32.const 0x80000000) (i32.const 0x80000000)) (i32.const 0))
