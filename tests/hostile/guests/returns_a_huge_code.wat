  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.const 0x80000000))
