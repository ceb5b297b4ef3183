  ;; Two functions that hand over to each other for ever, through a table.
  (memory (export "memory") 1)
  (type $f (func (result i32)))
  (table funcref (elem $a $b))
  (func $a (export "runnable") (type $f) (return_call_indirect (type $f) (i32.const 1)))
  (func $b (type $f) (return_call_indirect (type $f) (i32.const 0)))
