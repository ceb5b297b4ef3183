  ;; As far out as an address and an offset reach together: 8 GiB.
  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (i32.load offset=0xffffffff (i32.const -1)))
