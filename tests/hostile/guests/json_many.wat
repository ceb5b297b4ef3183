  ;; A flat array of five million numbers, but for its closing bracket.
  (memory (export "memory") 256)
  (func (export "runnable") (result i32) (local $at i32)
    (i32.store8 (i32.const 0) (i32.const 0x5b))
    (local.set $at (i32.const 1))
    (loop $l
      (i32.store16 (local.get $at) (i32.const 0x2c37))
      (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 2))) (i32.const 10000001))))
    (i32.store16 (local.get $at) (i32.const 0x5d37))
    (call $output_write (i32.const 0) (i32.add (local.get $at) (i32.const 1)))
    (i32.const 0))
