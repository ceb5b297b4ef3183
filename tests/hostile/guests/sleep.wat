  ;; Waits for an hour in the host.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 1000) (i32.const 1) (i32.const 2000)))
    (i32.const 0))
