  ;; A budget of instructions ends a loop of bulk operations too.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32)
    (loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 0xffff)) (br $l))
    (i32.const 0))
