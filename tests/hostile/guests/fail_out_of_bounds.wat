  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (call $fail (i32.const 65536) (i32.const 1)) (i32.const 0))
