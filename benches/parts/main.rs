//! Measures the parts, each for itself: the instance path, framing, the checks of JSON, the scheduler, the deadline.
//!
//! ```text
//! cargo bench --bench parts
//! ```
//!
//! The parts are no public API, so this program is made from the same sources as the library, as the tests' attacker is.

#![allow(
    dead_code,
    unused_imports,
    reason = "the sources are shared with the library, which uses all of them"
)]

mod deadline;
mod framing;
mod instance;
mod scheduling;

#[path = "../../runtime/src/error.rs"]
mod error;
#[path = "../../runtime/src/grants.rs"]
mod grants;
#[path = "../../runtime/src/guest/mod.rs"]
mod guest;
#[path = "../../runtime/src/inert.rs"]
mod inert;
#[path = "../../runtime/src/inherited.rs"]
mod inherited;
#[path = "../../runtime/src/jail/mod.rs"]
mod jail;
#[path = "../../runtime/src/limit_names.rs"]
mod limit_names;
#[path = "../../runtime/src/outcome.rs"]
mod outcome;
#[path = "../../runtime/src/process.rs"]
mod process;
#[path = "../../runtime/src/retry.rs"]
mod retry;
#[path = "../../runtime/src/role.rs"]
mod role;
#[path = "../../runtime/src/dispatcher/schedule/mod.rs"]
mod schedule;
#[path = "../../runtime/src/settings.rs"]
mod settings;
#[path = "../../runtime/src/status.rs"]
mod status;
#[path = "../../runtime/src/task_line.rs"]
mod task_line;
#[path = "../../runtime/src/time.rs"]
mod time;
#[path = "../../runtime/src/watchdog.rs"]
mod watchdog;
#[path = "../../runtime/src/wire/mod.rs"]
mod wire;

fn main() {
    divan::main();
}
