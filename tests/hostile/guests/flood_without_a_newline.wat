  ;; One endless line: it must neither be kept until its end nor swallow the lines of others.
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\05\00\00\00")
  (data (i32.const 16) "flood")
  (func (export "runnable") (result i32)
    (loop $l
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $l))
    (i32.const 0))
