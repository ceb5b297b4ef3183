  ;; The bytes are in bounds, the place for their number is not.
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\00\00\00\00")
  (func (export "runnable") (result i32)
    (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -4)))
