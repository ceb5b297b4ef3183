//! What a re-executed copy of an executable becomes in a pool: dispatcher, worker, compiler or task source.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod compiler;
pub mod dispatcher;
pub mod guest_thread;
pub mod message_batch;
pub mod task_source;
pub mod worker;

use mpwasm_sandbox::child;
use mpwasm_system::process;
use mpwasm_types::role::Role;

/// Becomes the dispatcher, a worker, the compiler or the task source when this process was started as one, and never returns
/// then. Returns at once in every other process.
pub fn enter_role() {
    let Some(role) = process::role() else { return };
    let result = match role {
        Role::Dispatcher => dispatcher::main(),
        Role::Worker => Err(worker::main()),
        Role::Compiler => compiler::main(),
        Role::Tasks => Err(task_source::main()),
    };
    let code = match result {
        Ok(()) => 0,
        Err(why) => {
            #[expect(
                clippy::disallowed_macros,
                reason = "a pipe to the parent, which escapes what it shows"
            )]
            {
                eprintln!("mpwasm {}: {why}", role.name());
            }
            child::EXIT_FAILURE
        }
    };
    process::exit_now(code);
}
