  ;; SIGKILL to itself.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.eqz (call $proc_raise (i32.const 9))))
