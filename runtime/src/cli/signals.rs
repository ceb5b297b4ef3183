//! SIGINT, SIGTERM and SIGUSR1 as events. What they mean for a run is decided in `ending.rs`.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::exit::Signal;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The end of the run.
    End(Signal),
    /// To be told what it is doing.
    Status,
}

/// Takes the signals over for the rest of the process's life. `on_signal` is called once for each, on a thread of its
/// own, so it may block.
pub fn listen(mut on_signal: impl FnMut(Wish) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for number in signals.forever() {
            on_signal(match number {
                SIGINT => Wish::End(Signal::Interrupt),
                SIGUSR1 => Wish::Status,
                _ => Wish::End(Signal::Terminate),
            });
        }
    })?;
    Ok(())
}
