
  ;; The good model: it returns its args and prints `good`, and its callbacks return.
  (func (export "good.runnable") (result i32)
    (if (i32.eqz (memory.size)) (then (drop (memory.grow (i32.const 1)))))
    (call $output_write (i32.const 0) (call $input_read (i32.const 0) (i32.const 0) (i32.const 1024)))
    (i64.store (i32.const 2048) (i64.const 0x0a646f6f67)) ;; "good\n"
    (i32.store (i32.const 2056) (i32.const 2048))
    (i32.store (i32.const 2060) (i32.const 5))
    (drop (call $fd_write (i32.const 1) (i32.const 2056) (i32.const 1) (i32.const 2064)))
    (i32.const 0))
  (func (export "good.callback") (result i32) (i32.const 0))
  (func (export "good.error_callback") (result i32) (i32.const 0))
