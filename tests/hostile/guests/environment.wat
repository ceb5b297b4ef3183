  ;; No argument and no variable: the sizes are 0, and lists of them write nothing anywhere.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (if (call $environ_sizes_get (i32.const 0) (i32.const 4)) (then (return (i32.const 1))))
    (if (call $args_sizes_get (i32.const 8) (i32.const 12)) (then (return (i32.const 2))))
    (if (i64.ne (i64.or (i64.load (i32.const 0)) (i64.load (i32.const 8))) (i64.const 0))
      (then (return (i32.const 3))))
    (i32.const 0))
