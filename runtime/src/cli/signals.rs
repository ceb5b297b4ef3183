//! SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGTSTP as events. What they mean for a run is decided in `ending.rs`.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal as Number, raise, sigaction};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::iterator::Signals;

use super::exit::Signal;
use super::inherited::is_ignored;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The end of the run.
    End(Signal),
    /// To be told what it is doing.
    Status,
    /// To stop: this process stops when the call returns.
    Stop,
    /// SIGCONT, after the process was stopped for this time.
    Continue(Duration),
}

/// Takes the signals over for the rest of the process's life. `on_signal` is called once for each, on a thread of its
/// own, so it may block. SIGHUP and SIGTSTP stay ignored where they were when this process started, as `nohup` leaves
/// them.
pub fn listen(mut on_signal: impl FnMut(Wish) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    for signal in [SIGHUP, SIGTSTP] {
        if !is_ignored(signal) {
            signals.add_signal(signal)?;
        }
    }
    thread::Builder::new().name("signals".into()).spawn(move || {
        for number in signals.forever() {
            let wish = match number {
                SIGHUP => Wish::End(Signal::Hangup),
                SIGINT => Wish::End(Signal::Interrupt),
                SIGUSR1 => Wish::Status,
                SIGTSTP => {
                    on_signal(Wish::Stop);
                    Wish::Continue(stop())
                }
                _ => Wish::End(Signal::Terminate),
            };
            on_signal(wish);
        }
    })?;
    Ok(())
}

/// Stops this process, as SIGTSTP does by default, unless no other process could continue it. Returns how long it was
/// stopped.
fn stop() -> Duration {
    let started = Instant::now();
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this process.
    if let Ok(ours) = unsafe { sigaction(Number::SIGTSTP, &default) } {
        let _ = raise(Number::SIGTSTP);
        // SAFETY: it is the handler that was there before.
        let _ = unsafe { sigaction(Number::SIGTSTP, &ours) };
    }
    started.elapsed()
}
