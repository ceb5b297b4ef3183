;; A command for tests that recognises a terminal as the C library does: a terminal is a character device without a
;; position. With an argument it plays a game of numbers, and buffers its output as `printf` does: it writes each line at
;; once if stdout is a terminal, and everything at its end otherwise. Without an argument its exit code says which of its
;; streams are terminals: 1 for stdin, 2 for stdout, 4 for stderr.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "Guess a number.\n")
  (data (i32.const 544) "More.\n")
  (data (i32.const 560) "Less.\n")
  (data (i32.const 576) "Right.\1b[2J\n")
  (global $buffered (mut i32) (i32.const 0))

  (func $is_terminal (param $fd i32) (result i32)
    (if (call $fd_fdstat_get (local.get $fd) (i32.const 64)) (then unreachable))
    (i32.and
      (i32.eq (i32.load8_u (i32.const 64)) (i32.const 2))
      (i64.eqz (i64.and (i64.load (i32.const 72)) (i64.const 0x24)))))

  (func $flush
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (global.get $buffered))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (global.set $buffered (i32.const 0)))

  ;; Writes a line of $len bytes at $at.
  (func $print (param $at i32) (param $len i32)
    (memory.copy (i32.add (i32.const 1024) (global.get $buffered)) (local.get $at) (local.get $len))
    (global.set $buffered (i32.add (global.get $buffered) (local.get $len)))
    (if (call $is_terminal (i32.const 1)) (then (call $flush))))

  ;; Returns the first character of the next line of stdin; zero at its end.
  (func $read (result i32)
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.const 100))
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (if (result i32) (i32.load (i32.const 8)) (then (i32.load8_u (i32.const 256))) (else (i32.const 0))))

  (func $play (local $guess i32)
    (call $print (i32.const 512) (i32.const 16))
    (loop $again
      (local.set $guess (call $read))
      (if (i32.eqz (local.get $guess)) (then (call $flush) (return)))
      (if (i32.eq (local.get $guess) (i32.const 55 (; 7 ;)))
        (then (call $print (i32.const 576) (i32.const 11)) (call $flush) (return)))
      (if (i32.lt_u (local.get $guess) (i32.const 55))
        (then (call $print (i32.const 544) (i32.const 6)))
        (else (call $print (i32.const 560) (i32.const 6))))
      (br $again)))

  (func (export "_start")
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1)) (then (call $play) (return)))
    (call $proc_exit
      (i32.or
        (call $is_terminal (i32.const 0))
        (i32.or
          (i32.shl (call $is_terminal (i32.const 1)) (i32.const 1))
          (i32.shl (call $is_terminal (i32.const 2)) (i32.const 2)))))))
