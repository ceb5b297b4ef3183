  ;; A loop without a loop: only the check at the function's entry ends it.
  (memory (export "memory") 1)
  (func $f (export "runnable") (result i32) (return_call $f))
