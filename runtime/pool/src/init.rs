//! Whether [`init`](crate::init) was called, and whether it came in time.

use std::sync::OnceLock;

use crate::error::Error;
use mpwasm_system::process::thread_count;
use mpwasm_types::settings::Jail;

/// State of the process at the first call of `mpwasm::init`; empty before it.
static AT_INIT: OnceLock<AtInit> = OnceLock::new();

/// State of a process when it called `mpwasm::init`. Its children are in the same state at that point.
enum AtInit {
    /// One thread and no runtime.
    Nothing,
    /// It ran several threads.
    Threads(usize),
    /// It ran a Tokio runtime, which may have no threads, but uses system calls that a jail forbids.
    Tokio,
}

/// Records that `mpwasm::init` has run, so that a copy of this executable can become a child. Only the first call counts,
/// as a child does not return from it.
pub fn set_initialised() {
    AT_INIT.get_or_init(|| {
        if tokio::runtime::Handle::try_current().is_ok() {
            return AtInit::Tokio;
        }
        match thread_count() {
            Ok(threads) if threads > 1 => AtInit::Threads(threads),
            // A process that cannot count its threads leaves the check to its children, which refuse their jail.
            _ => AtInit::Nothing,
        }
    });
}

/// Checks that a copy of this executable can become a child, in the jail if the settings have one.
///
/// # Errors
/// [`Error::InitMissing`], or [`Error::InitLate`]: a jail is built around the only thread of a process.
pub fn check_initialised(jail: Jail) -> Result<(), Error> {
    let late = |found: String| match jail {
        Jail::Off => Ok(()),
        Jail::BestEffort | Jail::Strict => Err(Error::InitLate { found }),
    };
    match AT_INIT.get() {
        None => Err(Error::InitMissing),
        Some(AtInit::Nothing) => Ok(()),
        Some(AtInit::Threads(count)) => late(format!("the program had {count} threads")),
        Some(AtInit::Tokio) => late("the program ran a Tokio runtime".to_owned()),
    }
}
