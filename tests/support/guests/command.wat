;; A command for tests. The first letter of its first argument selects what it does; without arguments it prints "none".
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "none\n")
  (data (i32.const 520) "to stderr\n")
  (data (i32.const 532) "ready\n")

  ;; Writes $len bytes at $at to a stream.
  (func $print (param $fd i32) (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))

  ;; Reads up to 64 KiB from stdin to 65536. Returns the number of bytes.
  (func $read (result i32)
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 65536))
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (i32.load (i32.const 8)))

  ;; Waits for stdin, at most for $nanoseconds by the monotonic clock. Returns the number of the first event.
  (func $poll (param $nanoseconds i64) (result i32)
    (memory.fill (i32.const 128) (i32.const 0) (i32.const 96))
    (i32.store8 (i32.const 136) (i32.const 1))
    (i64.store (i32.const 176) (i64.const 1))
    (i32.store (i32.const 192) (i32.const 1))
    (i64.store (i32.const 200) (local.get $nanoseconds))
    (if (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 2) (i32.const 8)) (then unreachable))
    (i32.load (i32.const 256)))

  (func (export "_start") (local $letter i32) (local $digit i32) (local $count i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 1024) (i32.const 4096)))
    (if (i32.eq (i32.load (i32.const 16)) (i32.const 1))
      (then (call $print (i32.const 1) (i32.const 512) (i32.const 5)) (return)))
    (local.set $letter (i32.load8_u (i32.load (i32.const 1028))))
    (local.set $digit (i32.sub (i32.load8_u offset=1 (i32.load (i32.const 1028))) (i32.const 48)))

    ;; args: prints all arguments, each followed by a zero byte
    (if (i32.eq (local.get $letter) (i32.const 97 (; a ;)))
      (then (call $print (i32.const 1) (i32.const 4096) (i32.load (i32.const 20))) (return)))
    ;; cat: prints its stdin as it arrives
    (if (i32.eq (local.get $letter) (i32.const 99 (; c ;)))
      (then (loop $more
        (if (i32.eqz (local.tee $count (call $read))) (then (return)))
        (call $print (i32.const 1) (i32.const 65536) (local.get $count))
        (br $more))))
    ;; xN: writes to stderr and exits with the code N
    (if (i32.eq (local.get $letter) (i32.const 120 (; x ;)))
      (then
        (call $print (i32.const 2) (i32.const 520) (i32.const 10))
        (call $proc_exit (local.get $digit))))
    ;; trap
    (if (i32.eq (local.get $letter) (i32.const 116 (; t ;)))
      (then (call $print (i32.const 2) (i32.const 520) (i32.const 10)) unreachable))
    ;; flood: prints forever
    (if (i32.eq (local.get $letter) (i32.const 102 (; f ;)))
      (then (loop $more (call $print (i32.const 1) (i32.const 512) (i32.const 5)) (br $more))))
    ;; loop: reports that it is ready, and computes forever
    (if (i32.eq (local.get $letter) (i32.const 108 (; l ;)))
      (then (call $print (i32.const 1) (i32.const 532) (i32.const 6)) (loop $more (br $more))))
    ;; read: reports that it is ready, and reads forever
    (if (i32.eq (local.get $letter) (i32.const 114 (; r ;)))
      (then (call $print (i32.const 1) (i32.const 532) (i32.const 6)) (loop $more (drop (call $read)) (br $more))))
    ;; sleep: reports that it is ready, and waits for an hour or for stdin; prints "none" if it was stdin
    (if (i32.eq (local.get $letter) (i32.const 115 (; s ;)))
      (then
        (call $print (i32.const 1) (i32.const 532) (i32.const 6))
        (if (i32.eqz (call $poll (i64.const 3600000000000)))
          (then (call $print (i32.const 1) (i32.const 512) (i32.const 5))))
        (return)))
    ;; wait: waits for a millisecond or for stdin; prints "none" if it was the millisecond
    (if (i32.eq (local.get $letter) (i32.const 119 (; w ;)))
      (then
        (if (call $poll (i64.const 1000000))
          (then (call $print (i32.const 1) (i32.const 512) (i32.const 5))))
        (return)))
    ;; zzz: reports that it is ready, and sleeps for a minute even if there is stdin
    (if (i32.eq (local.get $letter) (i32.const 122 (; z ;)))
      (then
        (call $print (i32.const 1) (i32.const 532) (i32.const 6))
        (memory.fill (i32.const 128) (i32.const 0) (i32.const 48))
        (i32.store (i32.const 144) (i32.const 1))
        (i64.store (i32.const 152) (i64.const 60000000000))
        (if (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)) (then unreachable))
        (return)))
    ;; bytes: prints bytes that are not text and would control a terminal
    (if (i32.eq (local.get $letter) (i32.const 98 (; b ;)))
      (then
        (i64.store (i32.const 600) (i64.const 0x0aff004a325b1bff))
        (call $print (i32.const 1) (i32.const 600) (i32.const 8)) (return)))
    unreachable))
