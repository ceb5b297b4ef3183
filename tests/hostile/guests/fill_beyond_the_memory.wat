  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (memory.fill (i32.const 1) (i32.const 7) (i32.const -1)) (i32.const 0))
