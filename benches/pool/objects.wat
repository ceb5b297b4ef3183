(module
  ;; Each model uses one object, by its name, as often as its constant says. An operation that fails is a trap.
  (import "mpwasm_v1" "object_open" (func $open (param i32 i32) (result i32)))
  (import "mpwasm_v1" "object_call" (func $object_call (param i32 i32 i32 i32 i32 i64) (result i32)))
  (import "mpwasm_v1" "number_int" (func $number_int (param i32 i32 i32 i64 i64) (result i64)))
  (memory (export "memory") 1)

  (data (i32.const 0) "number")
  (data (i32.const 8) "dict")
  (data (i32.const 16) "queue")
  (data (i32.const 24) "lock")
  (data (i32.const 32) "set")
  (data (i32.const 40) "get")
  (data (i32.const 48) "put")
  (data (i32.const 56) "put_many")
  (data (i32.const 72) "get_many")
  (data (i32.const 88) "acquire")
  (data (i32.const 96) "release")
  (data (i32.const 104) "[]")
  (data (i32.const 112) "[\"k\",1]")
  (data (i32.const 128) "[\"k\"]")
  (data (i32.const 136) "[1]")
  (data (i32.const 144) "[100]")
  (data (i32.const 152) "[[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]")

  ;; Calls an operation, waiting as long as needed. Returns the length of the reply.
  (func $call (param $object i32) (param $name i32) (param $name_len i32) (param $args i32) (param $args_len i32)
    (result i32)
    (local $reply i32)
    (local.set $reply
      (call $object_call (local.get $object) (local.get $name) (local.get $name_len) (local.get $args)
        (local.get $args_len) (i64.const -1)))
    (if (i32.lt_s (local.get $reply) (i32.const 0)) (then unreachable))
    (local.get $reply))

  ;; Opens the object with this name.
  (func $named (param $name i32) (param $len i32) (result i32)
    (local $object i32)
    (local.set $object (call $open (local.get $name) (local.get $len)))
    (if (i32.lt_s (local.get $object) (i32.const 0)) (then unreachable))
    (local.get $object))

  ;; Adds 1 to the number 1 000 000 times.
  (func (export "add.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 0) (i32.const 6)))
    (local.set $left (i32.const 1000000))
    (loop $again
      (drop (call $number_int (local.get $object) (i32.const 0) (i32.const 3) (i64.const 1) (i64.const 0)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0))

  ;; Sets and gets an entry of the dict 5000 times.
  (func (export "dict.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 8) (i32.const 4)))
    (local.set $left (i32.const 5000))
    (loop $again
      (drop (call $call (local.get $object) (i32.const 32) (i32.const 3) (i32.const 112) (i32.const 7)))
      (drop (call $call (local.get $object) (i32.const 40) (i32.const 3) (i32.const 128) (i32.const 5)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0))

  ;; Puts 10 000 items into the queue, one at a time.
  (func (export "produce.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 16) (i32.const 5)))
    (local.set $left (i32.const 10000))
    (loop $again
      (drop (call $call (local.get $object) (i32.const 48) (i32.const 3) (i32.const 136) (i32.const 3)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0))

  ;; Takes 10 000 items from the queue, one at a time.
  (func (export "consume.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 16) (i32.const 5)))
    (local.set $left (i32.const 10000))
    (loop $again
      (drop (call $call (local.get $object) (i32.const 40) (i32.const 3) (i32.const 104) (i32.const 2)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0))

  ;; Puts 200 000 items into the queue, a hundred at a time.
  (func (export "produce_many.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 16) (i32.const 5)))
    (local.set $left (i32.const 2000))
    (loop $again
      (drop (call $call (local.get $object) (i32.const 56) (i32.const 8) (i32.const 152) (i32.const 203)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0))

  ;; Takes 200 000 items from the queue, up to a hundred at a time. Each has one digit, so the reply's length tells their number.
  (func (export "consume_many.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 16) (i32.const 5)))
    (local.set $left (i32.const 200000))
    (loop $again
      (local.set $left
        (i32.sub
          (local.get $left)
          (i32.shr_u
            (call $call (local.get $object) (i32.const 72) (i32.const 8) (i32.const 144) (i32.const 5))
            (i32.const 1))))
      (br_if $again (i32.gt_s (local.get $left) (i32.const 0))))
    (i32.const 0))

  ;; Acquires and releases the lock 5000 times.
  (func (export "lock.runnable") (result i32)
    (local $left i32) (local $object i32)
    (local.set $object (call $named (i32.const 24) (i32.const 4)))
    (local.set $left (i32.const 5000))
    (loop $again
      (drop (call $call (local.get $object) (i32.const 88) (i32.const 7) (i32.const 104) (i32.const 2)))
      (drop (call $call (local.get $object) (i32.const 96) (i32.const 7) (i32.const 104) (i32.const 2)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 0)))
