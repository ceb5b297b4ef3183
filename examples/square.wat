;; A guest without an SDK: `[n]` gives n * n, and anything but a number traps.
(module
  (import "mpwasm_v1" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "mpwasm_v1" "output_write" (func $output_write (param i32 i32)))
  (memory (export "memory") 1)

  ;; Returns 0: the task went well, and its result is what was written.
  (func (export "runnable") (result i32)
    (local $at i32) (local $end i32) (local $digit i32) (local $value i64)
    ;; The input `[123]` lands at offset 0; the number stands between the brackets.
    (local.set $end (i32.sub (call $input_read (i32.const 0) (i32.const 0) (i32.const 32)) (i32.const 1)))
    (local.set $at (i32.const 1))
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then unreachable))
      (local.set $value
        (i64.add (i64.mul (local.get $value) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (local.set $value (i64.mul (local.get $value) (local.get $value)))
    ;; The digits are written from the last one, backwards from offset 128.
    (local.set $at (i32.const 128))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10))) (i32.const 48)))
      (local.set $value (i64.div_u (local.get $value) (i64.const 10)))
      (br_if $next (i64.ne (local.get $value) (i64.const 0))))
    (call $output_write (local.get $at) (i32.sub (i32.const 128) (local.get $at)))
    (i32.const 0)))
