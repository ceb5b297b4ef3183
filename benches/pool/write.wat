;; Grows its memory by PAGES pages of 64 KiB, and writes one word to each of its own pages of 4 KiB: PAGES * 64 KiB.
(module
  (memory (export "memory") 1)
  (func (export "runnable") (result i32) (local $at i32) (local $end i32)
    (local.set $at (i32.const 65536))
    (local.set $end (i32.add (i32.const 65536) (i32.mul (i32.const PAGES) (i32.const 65536))))
    (drop (memory.grow (i32.const PAGES)))
    (loop $all
      (i32.store (local.get $at) (i32.const 1))
      (br_if $all (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
        (local.get $end))))
    (i32.const 0)))
