//! SIGINT and SIGTERM as events. What they mean for a run is decided in `ending.rs`.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit::Signal;

/// Takes both signals over for the rest of the process's life. `on_signal` is called once for each, on a thread of
/// its own, so it may block.
pub fn listen(mut on_signal: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for number in signals.forever() {
            on_signal(if number == SIGINT {
                Signal::Interrupt
            } else {
                Signal::Terminate
            });
        }
    })?;
    Ok(())
}
