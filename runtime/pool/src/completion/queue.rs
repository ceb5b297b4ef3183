//! Where outcomes, or news of them, wait for one who takes them: what is behind every iterator of results.
//!
//! The receiver leaves letters and never waits for who takes them. Whoever takes them takes all that are there at
//! once: a busy reader costs the receiver no system call per letter.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    letters: Vec<T>,
    /// A thread waits for a letter.
    awaited: bool,
    /// A task of some executor does.
    waker: Option<Waker>,
    /// Nobody will ever take a letter again.
    abandoned: bool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State {
            letters: Vec::new(),
            awaited: false,
            waker: None,
            abandoned: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }
}

impl<T> Mailbox<T> {
    /// Leaves a letter. True when somebody waits for it: [`Mailbox::wake`] is to follow soon, perhaps after more letters.
    #[must_use = "somebody may wait"]
    pub fn leave(&self, letter: T) -> bool {
        let mut state = self.lock();
        if state.abandoned {
            return false;
        }
        state.letters.push(letter);
        state.awaited || state.waker.is_some()
    }

    /// Wakes who waits.
    pub fn wake(&self) {
        let mut state = self.lock();
        state.awaited = false;
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all letters that are there, behind those in `into`. False when there is none.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
        let letters = &mut self.lock().letters;
        into.append(letters);
        !into.is_empty()
    }

    /// As [`Mailbox::take`], but waits for a letter, until `until` if that is given. False when none has come by then.
    pub fn wait(&self, into: &mut Vec<T>, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.letters.is_empty() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            state.awaited = true;
            state = match left {
                Some(left) => {
                    self.arrived
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.awaited = false;
        into.append(&mut state.letters);
        true
    }

    /// As [`Mailbox::take`]; when there is no letter, the context's waker is woken for the next one.
    pub fn poll(&self, into: &mut Vec<T>, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.letters.is_empty() {
            state.waker = Some(context.waker().clone());
            return false;
        }
        into.append(&mut state.letters);
        true
    }

    /// Nobody will take a letter any more: what comes is dropped.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let letters = std::mem::take(&mut state.letters);
        drop((state, letters));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
