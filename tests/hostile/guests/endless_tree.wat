  ;; Recursion that is not deep, but has 2^60 leaves.
  (memory (export "memory") 1)
  (func $tree (param $height i32)
    (if (local.get $height)
      (then
        (call $tree (i32.sub (local.get $height) (i32.const 1)))
        (call $tree (i32.sub (local.get $height) (i32.const 1))))))
  (func (export "runnable") (result i32) (call $tree (i32.const 60)) (i32.const 0))
