;; A guest whose attempts end differently. The result is the number of the attempt.
;;
;; - unnamed: its first two attempts print "try" without a newline, and trap
;; - `spin`: logs "running" and loops forever in its first attempt
;; - `spin_always`: the same in every attempt
;; Their callback logs "callback", their error_callback "error_callback".
(module
  (import "mpwasm_v1" "attempt" (func $attempt (result i32)))
  (import "mpwasm_v1" "output_write" (func $output_write (param i32 i32)))
  (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "running")
  (data (i32.const 16) "callback")
  (data (i32.const 32) "error_callback")
  (data (i32.const 48) "try")
  (data (i32.const 64) "\30\00\00\00\03\00\00\00")

  ;; One digit is enough.
  (func $result (result i32)
    (i32.store8 (i32.const 128) (i32.add (i32.const 48) (call $attempt)))
    (call $output_write (i32.const 128) (i32.const 1))
    (i32.const 0))
  (func $spin
    (call $log (i32.const 3) (i32.const 0) (i32.const 7))
    (loop $ever (br $ever)))

  (func (export "runnable") (result i32)
    (if (i32.lt_u (call $attempt) (i32.const 3))
      (then
        (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 192)))
        (unreachable)))
    (call $result))
  (func (export "spin.runnable") (result i32)
    (if (i32.eq (call $attempt) (i32.const 1)) (then (call $spin)))
    (call $result))
  (func (export "spin_always.runnable") (result i32)
    (call $spin)
    (call $result))

  (func (export "callback") (export "spin.callback") (export "spin_always.callback") (result i32)
    (call $log (i32.const 3) (i32.const 16) (i32.const 8))
    (i32.const 0))
  (func (export "error_callback") (export "spin.error_callback") (export "spin_always.error_callback") (result i32)
    (call $log (i32.const 3) (i32.const 32) (i32.const 14))
    (i32.const 0)))
