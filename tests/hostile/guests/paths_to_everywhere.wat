  ;; Absolute, upwards, with trailing slashes, empty, with a NUL, not UTF-8, of 60 000 bytes: against every descriptor.
  (memory (export "memory") 2)
  (data (i32.const 0) "/etc/passwd../../../../etc/shadow.//etc/passwd\00x/\ff\fe")
  (func $open (param $fd i32) (param $at i32) (param $len i32) (result i32)
    (i32.or
      (i32.eqz (call $path_open (local.get $fd) (i32.const 1) (local.get $at) (local.get $len) (i32.const 0)
        (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 131000)))
      (i32.eqz (call $path_open (local.get $fd) (i32.const 0) (local.get $at) (local.get $len) (i32.const 9)
        (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 131000)))))
  (func $every (param $at i32) (param $len i32) (result i32) (local $fd i32) (local $opened i32)
    (loop $l
      (local.set $opened
        (i32.or (local.get $opened) (call $open (local.get $fd) (local.get $at) (local.get $len))))
      (br_if $l (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 16))))
    (i32.or (local.get $opened) (call $open (i32.const -100) (local.get $at) (local.get $len))))
  (func (export "runnable") (result i32)
    (memory.fill (i32.const 1024) (i32.const 0x2f) (i32.const 60000))
    (i32.or
      (i32.or
        (i32.or (call $every (i32.const 0) (i32.const 11)) (call $every (i32.const 11) (i32.const 22)))
        (i32.or (call $every (i32.const 33) (i32.const 2)) (call $every (i32.const 34) (i32.const 14))))
      (i32.or
        (i32.or (call $every (i32.const 48) (i32.const 2)) (call $every (i32.const 0) (i32.const 0)))
        (call $every (i32.const 1024) (i32.const 60000)))))
