//! The binary `mpwasm`. A copy that the pool re-executed becomes a dispatcher, a worker, a compiler or a `tasks`
//! process inside [`mpwasm::init`] and never returns from it; everything else is the command line.

mod cli;

fn main() {
    mpwasm::init();
    cli::main()
}
