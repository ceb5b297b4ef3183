  ;; Harmless as it stands; what it demangles to turns the rest of the line around and hides in it.
  (memory (export "memory") 1)
  (func $bad (@name "_ZN7$u202e$7$u200b$17h0123456789abcdefE") (result i32) (unreachable))
  (func (export "runnable") (result i32) (call $bad))
