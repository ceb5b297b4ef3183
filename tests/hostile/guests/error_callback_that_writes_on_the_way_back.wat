  ;; The deadline is looked at where functions begin, at loops and before bulk operations: on the way back out of a deep
  ;; recursion there is none of that, and each frame makes the host look at 40 MB. That would take minutes,
  ;; but the host looks at the deadline between two pieces of them.
  (memory (export "memory") 1)
  (func $deeper (param $levels i32)
    (if (local.get $levels) (then (call $deeper (i32.sub (local.get $levels) (i32.const 1)))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "runnable") (result i32) (unreachable))
  (func (export "error_callback") (result i32)
    (drop (memory.grow (i32.const 639)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 0x27fff00))
    (call $deeper (i32.const 10000))
    (i32.const 0))
