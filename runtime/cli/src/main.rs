//! The binary `mpwasm`. A copy that the pool re-executed becomes a dispatcher, a worker, a compiler or a `tasks`
//! process inside [`mpwasm::init`] and never returns from it; everything else is the command line.

#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

/// Runs before Rust's runtime, which would open /dev/null for a closed stdout: then records would get lost without a word.
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
