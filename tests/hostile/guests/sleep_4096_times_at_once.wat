  ;; As many subscriptions as are allowed, each for an hour.
  (memory (export "memory") 8)
  (func (export "runnable") (result i32) (local $at i32)
    (loop $l
      (i32.store offset=16 (local.get $at) (i32.const 1))
      (i64.store offset=24 (local.get $at) (i64.const 3600000000000))
      (local.set $at (i32.add (local.get $at) (i32.const 48)))
      (br_if $l (i32.lt_u (local.get $at) (i32.const 196608))))
    (call $poll_oneoff (i32.const 0) (i32.const 200000) (i32.const 4096) (i32.const 400000)))
