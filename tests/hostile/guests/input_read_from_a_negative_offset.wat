  ;; Past the end there is nothing to read, however far past.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (i32.or
      (call $input_read (i32.const 0) (i32.const -1) (i32.const 65536))
      (call $input_read (i32.const 65536) (i32.const 0x7fffffff) (i32.const 0))))
