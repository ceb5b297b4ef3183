;; The guest of the library's tests. It is small, so that it loads fast. A model logs a line wherever a test waits for an
;; event.
;;
;; - unnamed: returns its args
;; - `spin`: logs "running" and loops forever
;; - `sleep`: logs "running" and sleeps for an hour
;; - `trap`: traps
;; - `logged`: returns its args; its callback logs "callback", its error_callback "error_callback"
;; - `lost`: traps; callbacks as those of `logged`
;; - `stuck`: returns its args; its callback logs "stuck" and loops forever
;; - `count`: returns how often it was called in its instance, and does what its args say: `[4]` traps, `[5]` loops forever,
;;   `[6]` fails, `[7]` logs "running"; its callbacks as those of `logged`
(module
  (import "mpwasm_v1" "input_len" (func $input_len (result i32)))
  (import "mpwasm_v1" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "mpwasm_v1" "output_write" (func $output_write (param i32 i32)))
  (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "running")
  (data (i32.const 16) "callback")
  (data (i32.const 32) "error_callback")
  (data (i32.const 48) "stuck")
  ;; At 64, a subscription: the monotonic clock, an hour from now.
  (data (i32.const 80) "\01")
  (data (i32.const 88) "\00\a0\b8\30\46\03\00\00")

  (func $echo (export "runnable") (export "logged.runnable") (export "stuck.runnable") (result i32)
    (local $length i32)
    (local.set $length (call $input_len))
    (drop (memory.grow (i32.add (i32.shr_u (local.get $length) (i32.const 16)) (i32.const 1))))
    (drop (call $input_read (i32.const 65536) (i32.const 0) (local.get $length)))
    (call $output_write (i32.const 65536) (local.get $length))
    (i32.const 0))
  (func (export "spin.runnable") (result i32)
    (call $log (i32.const 3) (i32.const 0) (i32.const 7))
    (loop $ever (br $ever))
    (unreachable))
  (func (export "sleep.runnable") (result i32)
    (call $log (i32.const 3) (i32.const 0) (i32.const 7))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
    (i32.const 0))
  (func (export "trap.runnable") (export "lost.runnable") (result i32)
    (unreachable))

  (global $calls (mut i32) (i32.const 0))
  (func (export "count.runnable") (result i32)
    (local $what i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (drop (call $input_read (i32.const 256) (i32.const 0) (i32.const 3)))
    (local.set $what (i32.load8_u (i32.const 257)))
    (if (i32.eq (local.get $what) (i32.const 52)) (then (unreachable)))
    (if (i32.eq (local.get $what) (i32.const 53)) (then (loop $ever (br $ever))))
    (if (i32.eq (local.get $what) (i32.const 54)) (then (return (i32.const 1))))
    (if (i32.eq (local.get $what) (i32.const 55))
      (then (call $log (i32.const 3) (i32.const 0) (i32.const 7))))
    (i32.store8 (i32.const 256) (i32.add (i32.const 48) (global.get $calls)))
    (call $output_write (i32.const 256) (i32.const 1))
    (i32.const 0))

  (func (export "logged.callback") (export "lost.callback") (export "count.callback") (result i32)
    (call $log (i32.const 3) (i32.const 16) (i32.const 8))
    (i32.const 0))
  (func (export "logged.error_callback") (export "lost.error_callback")
    (export "count.error_callback") (result i32)
    (call $log (i32.const 3) (i32.const 32) (i32.const 14))
    (i32.const 0))
  (func (export "stuck.callback") (result i32)
    (call $log (i32.const 3) (i32.const 48) (i32.const 5))
    (loop $ever (br $ever))
    (unreachable)))
