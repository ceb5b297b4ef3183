  ;; A buffer of 4 GiB, less one byte.
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\00\00\00\ff\ff\ff\ff")
  (func (export "runnable") (result i32)
    (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
