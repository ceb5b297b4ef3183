//! Spawns, connects to, kills and reaps the child processes of a pool.
//!
//! A child is a re-execution of one binary, with a marker and its role as the first argument. It gets an empty
//! environment, a process group of its own, a socket to its starter as file descriptor 0, and a pipe for diagnostics as
//! descriptors 1 and 2. All other descriptors are sent through the socket later. A copy of this process that only probes
//! the machine is not a child in this sense: see [`probe`](mpwasm_system::probe).
//!
//! The steps of a child's start, in order:
//!
//! 1. close inherited file descriptors, and set signals and limits ([`start_up`]);
//! 2. request the parent-death signal. It is the second mechanism by which a child ends with its starter; the first is
//!    the end of file of its socket;
//! 3. send the [`Hello`](mpwasm_protocol::messages::Hello), which the starter waits for ([`receive_hello`]);
//! 4. receive settings, file descriptors and guests. A worker's engine opens here what it keeps open;
//! 5. [`jail::isolate`](crate::jail::isolate), before any thread is started;
//! 6. start threads;
//! 7. [`jail::lock_down`](crate::jail::lock_down), on all threads, once the guests are loaded. Then run.

mod exit_code;
mod handshake;
mod process;
mod spawn;
mod start_up;

pub use exit_code::{EXIT_FAILURE, EXIT_WATCHDOG};
pub use handshake::receive_hello;
pub use process::Process;
pub use spawn::{Executable, spawn};
pub use start_up::{StartUpError, start_up};
