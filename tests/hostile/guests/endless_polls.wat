  ;; A stream that is always ready beside a clock that never is: the host never waits.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (i64.store (i32.const 24) (i64.const -1))
    (i32.store8 (i32.const 56) (i32.const 2))
    (i32.store (i32.const 64) (i32.const 1))
    (loop $l
      (drop (call $poll_oneoff (i32.const 0) (i32.const 1000) (i32.const 2) (i32.const 2000)))
      (br $l))
    (i32.const 0))
