  ;; All of the memory cap from each frame of a deep recursion, on the way back: minutes, in a few bytes.
  (memory (export "memory") 1)
  (func $deeper (param $levels i32)
    (if (local.get $levels) (then (call $deeper (i32.sub (local.get $levels) (i32.const 1)))))
    (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x10000000)))
  (func (export "runnable") (result i32)
    (drop (memory.grow (i32.const 4095)))
    (call $deeper (i32.const 5000))
    (i32.const 0))
