//! Measures the parts, each for itself: the instance path, framing, the checks of JSON, the scheduler, the deadline.
//!
//! ```text
//! cargo bench --bench parts
//! ```
//!
//! The parts are crates of their own, which are no public API of `mpwasm`.

mod deadline;
mod framing;
mod instance;
mod scheduling;

fn main() {
    divan::main();
}
