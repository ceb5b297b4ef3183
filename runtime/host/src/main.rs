//! The binary `mpwasm-host`: the child processes of a pool, without the command line.
//!
//! A pool whose builder names this executable starts it instead of a copy of the program itself. The pool opens its standard
//! file descriptors.

use std::process::ExitCode;

/// Exit code of a process that was not started by a pool.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    mpwasm_host::enter_role();
    eprintln!(
        "mpwasm-host {}: runs the child processes of an mpwasm pool, which starts it itself",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(USAGE_ERROR)
}
