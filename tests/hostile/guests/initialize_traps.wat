  (memory (export "memory") 1)
  (func (export "_initialize") (if (i32.eq (call $input_len) (i32.const 2)) (then (unreachable))))
  (func (export "runnable") (result i32) (i32.const 0))
