//! Measures the parts of the pool separately: instances, framing, the checks of JSON, the scheduler and the deadline.
//!
//! ```text
//! cargo bench --bench parts
//! ```
//!
//! The parts are crates of their own, which are not part of the public API of `mpwasm`.

mod deadline;
mod framing;
mod instance;
mod scheduling;

fn main() {
    divan::main();
}
