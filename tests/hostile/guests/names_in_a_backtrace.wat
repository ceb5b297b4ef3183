  ;; A function whose name would clear the screen, set the title, go back to the line's begin and reverse the rest.
  (memory (export "memory") 1)
  (func $bad (@name "\1b[2J\1b]0;title\07\rmpwasm: all is well\n\e2\80\ae") (result i32) (unreachable))
  (func (export "runnable") (result i32) (call $bad))
