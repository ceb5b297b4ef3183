//! The call of a thread: what the manager knows a thread of this program by. Locks and leased items belong to it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::objects::client::{CallFailed, OwnerClient};
use mpwasm_types::objects::CallNumber;

/// Number of threads that have used objects.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THIS: ThreadCall = ThreadCall {
        number: CallNumber(THREADS.fetch_add(1, Ordering::Relaxed) + 1),
        clients: RefCell::default(),
    };
}

/// The call of a thread. When the thread ends, what it holds is given back.
struct ThreadCall {
    number: CallNumber,
    /// The managers that know it.
    clients: RefCell<Vec<Weak<OwnerClient>>>,
}

impl Drop for ThreadCall {
    fn drop(&mut self) {
        for client in self.clients.get_mut().iter().filter_map(Weak::upgrade) {
            client.call_ended(self.number);
        }
    }
}

/// Returns the call of this thread, whose end `client` will report.
///
/// # Errors
/// When the thread is about to end.
pub fn this_call(client: &Arc<OwnerClient>) -> Result<CallNumber, CallFailed> {
    let number = THIS.try_with(|this| {
        let mut clients = this.clients.borrow_mut();
        if !clients.iter().any(|known| known.as_ptr() == Arc::as_ptr(client)) {
            clients.retain(|known| known.strong_count() > 0);
            clients.push(Arc::downgrade(client));
        }
        this.number
    });
    number.map_err(|_| CallFailed::Unavailable("this thread is about to end".to_owned()))
}
