//! Delivers SIGINT, SIGTERM, SIGHUP, SIGUSR1 and the signals of job control as calls on a thread.

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal as Number, raise, sigaction};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::process::exit::EndSignal;
use crate::process::inherited::is_ignored;

/// The request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalRequest {
    /// End the run or the command.
    End(EndSignal),
    /// Print the status.
    Status,
    /// Pause everything: this process stops when the call returns.
    Stop,
    /// Resume after SIGCONT. The process was stopped for this time.
    Continue(Duration),
}

/// Signals by which a terminal stops a process: on Ctrl-Z, and on a read or write in the background.
const STOPS: [Number; 3] = [Number::SIGTSTP, Number::SIGTTIN, Number::SIGTTOU];

/// Handles these signals for the rest of the process's life.
///
/// `on_signal` is called for each signal on a separate thread. It may block, but it must not write to a terminal. SIGHUP and
/// the stop signals stay ignored if they were ignored when this process started, as under `nohup`.
pub fn listen(mut on_signal: impl FnMut(SignalRequest) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let stops: Vec<Number> = STOPS
        .into_iter()
        .filter(|&signal| !is_ignored(signal as i32))
        .collect();
    for &signal in &stops {
        signals.add_signal(signal as i32)?;
    }
    thread::Builder::new().name("signals".into()).spawn(move || {
        let stop_of = |number| stops.iter().copied().find(|&stop| stop as i32 == number);
        loop {
            let mut due: VecDeque<i32> = signals.wait().collect();
            while let Some(number) = due.pop_front() {
                let request = match number {
                    SIGHUP => SignalRequest::End(EndSignal::Hangup),
                    SIGINT => SignalRequest::End(EndSignal::Interrupt),
                    SIGUSR1 => SignalRequest::Status,
                    _ => match stop_of(number) {
                        Some(stop) => {
                            on_signal(SignalRequest::Stop);
                            let stopped = stop_by(stop, &stops, || due.extend(signals.pending()));
                            // Drops a second Ctrl-Z, or a repeated read, from before this process had stopped.
                            due.retain(|&number| stop_of(number).is_none());
                            SignalRequest::Continue(stopped)
                        }
                        None => SignalRequest::End(EndSignal::Terminate),
                    },
                };
                on_signal(request);
            }
        }
    })?;
    Ok(())
}

/// Stops this process by the default action of `signal`, and returns how long it was stopped.
///
/// The kernel does not stop an orphaned process group, which no shell could continue. `collect` is called after SIGCONT,
/// before the handlers of the stop signals are restored.
fn stop_by(signal: Number, stops: &[Number], collect: impl FnOnce()) -> Duration {
    let started = Instant::now();
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let ours: Vec<_> = stops
        .iter()
        .map(|&stop| {
            // SAFETY: the default action runs no code of this process.
            (stop, unsafe { sigaction(stop, &default) })
        })
        .collect();
    let _ = raise(signal);
    collect();
    for (stop, ours) in ours {
        if let Ok(ours) = ours {
            // SAFETY: it is the handler that was installed before.
            let _ = unsafe { sigaction(stop, &ours) };
        }
    }
    started.elapsed()
}
