  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (call $poll_oneoff (i32.const 65520) (i32.const 0) (i32.const 1) (i32.const 0)))
