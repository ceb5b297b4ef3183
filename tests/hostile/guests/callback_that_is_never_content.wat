  ;; Closes its streams and uses them: its instance is kept, and so is the damage, for itself.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.const 0))
  (func (export "callback") (result i32)
    (drop (call $fd_close (i32.const 1)))
    (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8)))
