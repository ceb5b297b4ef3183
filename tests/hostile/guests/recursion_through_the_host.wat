  ;; Each level calls imports: the last of them with next to no guest stack left.
  (memory (export "memory") 1)
  (func $deeper (result i32)
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $clock_res_get (i32.const 0) (i32.const 0)))
    (drop (call $fd_readdir (i32.const 3) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0)))
    (i32.add (i32.const 1) (call $deeper)))
  (func (export "runnable") (result i32) (call $deeper))
