  ;; Writes of no bytes, and outputs of none.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (loop $l
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 8)))
      (call $output_write (i32.const 0) (i32.const 0))
      (br $l))
    (i32.const 0))
