  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (unreachable))
