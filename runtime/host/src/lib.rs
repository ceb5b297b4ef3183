//! The main functions of a pool's child processes: dispatcher, worker, compiler, task source and manager.
//!
//! A pool starts each of them as a re-executed copy of its own executable, or as `mpwasm-host`. The process calls
//! [`enter_role`], which runs the role that it was started for.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod compiler;
pub mod dispatcher;
pub mod error;
pub mod guest_thread;
pub mod manager;
pub mod manager_client;
pub mod message_batch;
pub mod task_source;
pub mod worker;

use mpwasm_sandbox::child;
use mpwasm_system::process;
use mpwasm_types::role::Role;

/// Runs the role that a pool started this process for, and exits when that ends. Returns immediately in a process that was
/// not started by a pool.
pub fn enter_role() {
    let Some(role) = process::role() else { return };
    let result = match role {
        Role::Dispatcher => dispatcher::main(),
        Role::Worker => worker::main().map(|never| match never {}),
        Role::Compiler => compiler::main(),
        Role::Manager => manager::main(),
        Role::Tasks => task_source::main().map(|never| match never {}),
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
