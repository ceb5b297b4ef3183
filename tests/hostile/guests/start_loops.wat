  ;; For tasks without args, that is: neighbours have some.
  (memory (export "memory") 1)
  (start $start)
  (func $start (if (i32.eq (call $input_len) (i32.const 2)) (then (loop $l (br $l)))))
  (func (export "runnable") (result i32) (i32.const 0))
