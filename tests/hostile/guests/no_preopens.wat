  ;; No descriptor from 3 on, nor any strange one, is a granted directory.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (local $fd i32)
    (loop $l
      (if (i32.ne (call $fd_prestat_get (local.get $fd) (i32.const 0)) (i32.const 8))
        (then (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 1))))))
      (br_if $l (i32.lt_u (local.tee $fd (i32.add (local.get $fd) (i32.const 1))) (i32.const 1000))))
    (if (i32.ne (call $fd_prestat_get (i32.const -1) (i32.const 0)) (i32.const 8))
      (then (return (i32.const 2))))
    (if (i32.ne (call $fd_prestat_dir_name (i32.const 3) (i32.const 0) (i32.const -1)) (i32.const 8))
      (then (return (i32.const 3))))
    (i32.const 0))
