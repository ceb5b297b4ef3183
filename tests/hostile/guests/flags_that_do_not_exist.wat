  ;; All 64 bits of rights, of which some 30 mean something.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (call $path_open (i32.const 3) (i32.const -1) (i32.const 0) (i32.const 1) (i32.const -1) (i64.const -1)
      (i64.const -1) (i32.const -1) (i32.const 64)))
