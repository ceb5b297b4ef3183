  ;; The clocks of processor time, and numbers that are no clock.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (if (i32.eqz (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 0))) (then (return (i32.const 1))))
    (if (i32.eqz (call $clock_time_get (i32.const 77) (i64.const 0) (i32.const 0))) (then (return (i32.const 2))))
    (if (i32.eqz (call $clock_time_get (i32.const -1) (i64.const 0) (i32.const -1))) (then (return (i32.const 3))))
    (i32.eqz (call $clock_res_get (i32.const 2) (i32.const 0))))
