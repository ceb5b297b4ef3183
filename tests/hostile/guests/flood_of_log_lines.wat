  ;; Empty ones and long ones, at every level and beyond.
  (memory (export "memory") 2)
  (func (export "runnable") (result i32) (local $level i32)
    (memory.fill (i32.const 0) (i32.const 0x78) (i32.const 131072))
    (loop $l
      (call $log (local.get $level) (i32.const 0) (i32.const 131072))
      (call $log (local.get $level) (i32.const 0) (i32.const 0))
      (local.set $level (i32.add (local.get $level) (i32.const 0x3fffffff)))
      (br $l))
    (i32.const 0))
