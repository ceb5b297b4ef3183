  (memory (export "memory") 1)
  (type $f (func (result i32)))
  (table 10 funcref)
  (func (export "runnable") (result i32) (call_indirect (type $f) (i32.const -1)))
