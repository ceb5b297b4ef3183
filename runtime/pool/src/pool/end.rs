//! How a pool ends.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::Error;
use crate::pool::Pool;
use crate::pool::final_values::FinalValue;
use crate::pool::state::PoolEnd;
use mpwasm_protocol::messages::ControlRequest;

impl Pool {
    /// Stops accepting tasks; accepted tasks run to their end. Blocks while the pipe is full, as a push does; [`Pool::join`] waits
    /// for the end. A map that is still iterated ends with the inputs in flight. A [paused](Self::pause) pool stays paused.
    pub fn close(&self) {
        if self.shared.owner.is_here() && self.shared.close() {
            self.shared.submissions().finish();
        }
    }

    /// Stops accepting tasks. Running tasks end normally, with their callbacks; tasks that have not started end as `cancelled`.
    /// Returns at once; [`Pool::join`] waits.
    pub fn interrupt(&self) {
        if !self.shared.owner.is_here() {
            return;
        }
        self.shared.cancelling.store(true, Ordering::SeqCst);
        self.shared.close();
        self.shared.backend.control(ControlRequest::Interrupt);
    }

    /// Stops accepting tasks and kills the running ones: each task that has not ended is `cancelled`, and no further callback
    /// runs. Returns at once; [`Pool::join`] waits.
    pub fn terminate(&self) {
        self.shared.kill();
    }

    /// Waits until the pool has ended: every accepted task has its outcome, and every process is reaped. The pool ends after
    /// [`Pool::close`], [`Pool::interrupt`], [`Pool::terminate`] or a failure. May be called repeatedly and from many threads.
    ///
    /// # Errors
    /// [`Error::Report`], [`Error::PoolFailed`] or [`Error::DispatcherDied`], once; later calls return `Ok`.
    /// [`Error::Forked`] in a fork, always.
    pub fn join(&self) -> Result<(), Error> {
        self.shared.owner.check()?;
        let mut lifecycle = self.shared.wait_for_end(None);
        match &mut lifecycle.end {
            Some(PoolEnd::Failed(error)) => error.take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// Waits for the pool's end, at most until `until`. Returns whether it has ended.
    pub(crate) fn has_ended_by(&self, until: Option<Instant>) -> bool {
        self.shared.wait_for_end(until).end.is_some()
    }

    /// Ends the pool as `Executor.shutdown` of Python's `concurrent.futures` does. With `cancel_pending` it calls
    /// [`Pool::interrupt`], otherwise [`Pool::resume`] and [`Pool::close`]. With `wait` it then calls [`Pool::join`].
    ///
    /// # Errors
    /// As [`Pool::join`], if it waits.
    pub fn shutdown(&self, wait: bool, cancel_pending: bool) -> Result<(), Error> {
        if cancel_pending {
            self.interrupt();
        } else {
            self.resume();
            self.close();
        }
        if wait { self.join() } else { Ok(()) }
    }

    /// Stops accepting tasks, runs the accepted ones to their end and waits until the pool has ended.
    ///
    /// # Errors
    /// As [`Pool::join`].
    pub fn stop(self) -> Result<(), Error> {
        self.shutdown(true, false)
    }

    /// Returns what the callbacks of each model have accumulated from all results, once the pool has ended; empty before.
    /// There is one value for each model with a `final_callback` of which tasks were run, in the order of the guests and
    /// their models.
    ///
    /// All values together are limited by [`Settings::max_result`](mpwasm_types::settings::Settings::max_result). A value
    /// that does not fit after those before it is a [`FinalError`](crate::FinalError) of the kind [`Kind::Limit`](crate::Kind::Limit).
    #[must_use]
    pub fn final_values(&self) -> Vec<FinalValue> {
        match self.shared.owner.is_here() && self.shared.has_ended() {
            true => self.shared.final_values.values(),
            false => Vec::new(),
        }
    }

    /// Stops the pool as [`Pool::stop`] does, and returns the [final values](Pool::final_values): a fold over all
    /// results.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// # let pool = mpwasm::Pool::builder().start()?;
    /// # let guest = pool.load("sum.wasm")?;
    /// pool.push_all((0..100).map(|number| guest.task([number])))?;
    /// for sum in pool.stop_with_values()? {
    ///     match sum.result {
    ///         Ok(json) => println!("{json}"),
    ///         Err(error) => println!("the sum is lost: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pool::join`].
    pub fn stop_with_values(self) -> Result<Vec<FinalValue>, Error> {
        self.shutdown(true, false)?;
        Ok(self.final_values())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.shared.owner.is_here() {
            // The thread exists only in the owner's process: there is nothing to join here.
            std::mem::forget(self.receiver.get_mut().take());
            return;
        }
        if !self.shared.has_ended() {
            self.terminate();
        }
        let receiver = self.receiver.get_mut().take();
        if let Some(receiver) = receiver
            && receiver.thread().id() != std::thread::current().id()
        {
            let _ = receiver.join();
        }
    }
}
