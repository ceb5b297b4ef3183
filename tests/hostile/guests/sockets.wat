  ;; Streams are no sockets, and nothing else is there.
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\01\00\00\00")
  (func (export "runnable") (result i32) (local $fd i32)
    (loop $l
      (if (i32.eqz (call $sock_accept (local.get $fd) (i32.const 0) (i32.const 200))) (then (return (i32.const 1))))
      (if (i32.eqz (call $sock_recv (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 200)
          (i32.const 204)))
        (then (return (i32.const 2))))
      (if (i32.eqz (call $sock_send (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 200)))
        (then (return (i32.const 3))))
      (if (i32.eqz (call $sock_shutdown (local.get $fd) (i32.const 3))) (then (return (i32.const 4))))
      (br_if $l (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 16))))
    (i32.const 0))
