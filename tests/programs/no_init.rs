//! Does not call `mpwasm::init()`, although it should do so first in `main`. The pool must refuse to start, and copies of
//! this program must not start further copies.
//!
//! Without an argument it starts a pool in the usual way. With the argument `named` it names itself as the executable of
//! the pool's processes. It prints the error's variant.

use mpwasm::{Error, Pool};

fn main() {
    // A copy that the pool started gets here as well, and does what the program does.
    let is_copy = std::env::args().nth(1).is_some_and(|arg| arg.starts_with("--"));
    let names_itself = is_copy || std::env::args().nth(1).is_some_and(|arg| arg == "named");
    let mut builder = Pool::builder().size(1);
    if names_itself {
        builder = builder.executable(std::env::current_exe().expect("a program has a file"));
    }
    let error = builder.start().expect_err("a pool without init can't start");
    // stderr of a copy is a pipe to the program that started it.
    match error {
        Error::InitMissing => println!("InitMissing"),
        Error::Start { role, .. } => println!("Start {role}"),
        other => println!("{other:?}"),
    }
}
