//! The binary `mpwasm`.
//!
//! The pool re-executes it. Such a process becomes a dispatcher, a worker, a compiler or a `tasks` process in
//! [`mpwasm::init`], which then never returns. Otherwise the command line runs.

#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

/// Runs before Rust's runtime, which opens /dev/null for a closed stdout. Records written there would be lost silently.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = {
    extern "C" fn fill() {
        mpwasm_system::standard_descriptors::fill();
    }
    fill
};

fn main() {
    mpwasm::init();
    mpwasm_cli::main()
}
