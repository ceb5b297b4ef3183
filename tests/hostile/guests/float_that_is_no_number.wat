  (memory (export "memory") 1)
  (global $nan (mut f64) (f64.const nan))
  (func (export "runnable") (result i32) (i32.trunc_f64_u (global.get $nan)))
