  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.const 0))
  (func (export "callback") (result i32) (unreachable))
