  ;; Opens, renumbers and closes for ever.
  (memory (export "memory") 1)
  (data (i32.const 0) "/proc/self/mem")
  (func (export "runnable") (result i32) (local $fd i32)
    (loop $l
      (drop (call $path_open (local.get $fd) (i32.const 0) (i32.const 0) (i32.const 14) (i32.const 0)
        (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 64)))
      (drop (call $fd_renumber (i32.const 1) (local.get $fd)))
      (drop (call $fd_renumber (local.get $fd) (i32.const 1)))
      (drop (call $fd_close (i32.add (local.get $fd) (i32.const 3))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br $l))
    (i32.const 0))
