  ;; More subscriptions than fit into any memory, and a number that is nothing in 32 bits: refused as invalid (28).
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (if (i32.ne (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0)) (i32.const 28))
      (then (return (i32.const 1))))
    (if (i32.ne (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0x40000000) (i32.const 0)) (i32.const 28))
      (then (return (i32.const 2))))
    (i32.ne (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 28)))
