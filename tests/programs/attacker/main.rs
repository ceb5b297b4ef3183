//! A compromised worker, dispatcher or compiler. It enters its jail as the real one does, and then misbehaves as the args
//! of its tasks say. The tests name it as the executable of a pool.
//!
//! It is a separate program, made from the same sources, so that nothing in the shipped binary can be made to misbehave
//! or to skip a check. Its behaviour depends on the name of its file:
//!
//! - `attacker`: its workers are attackers behind all layers of the sandbox;
//! - `attacker-without-seccomp`: its dispatcher and workers skip the last layer, which shows what the other layers
//!   prevent;
//! - `attacker-dispatcher`: its dispatcher is the attacker;
//! - `attacker-dispatcher-without-seccomp`;
//! - `attacker-compiler`: its compiler is the attacker.
//!
//! Otherwise, when it is not started as a process of a pool, it is the command line of `mpwasm`, whose processes run it.

mod attempted;
mod calls;
mod compromised_compiler;
mod compromised_dispatcher;
mod compromised_worker;
mod file_calls;
mod part;

use mpwasm_host::error::ChildError;
use mpwasm_host::{compiler, dispatcher, manager, task_source, worker};
use mpwasm_system::process;
use mpwasm_types::role::Role;
use part::Part;

fn main() {
    let Some(role) = process::role() else {
        mpwasm::init();
        mpwasm_cli::main();
    };
    let part = Part::of_this_file();
    let text = |error: ChildError| error.to_string();
    let result = match role {
        Role::Worker if part.compromised == Role::Worker => Err(compromised_worker::main(&part)),
        Role::Dispatcher if part.compromised == Role::Dispatcher => Err(compromised_dispatcher::main(&part)),
        Role::Worker => worker::main().map(|never| match never {}).map_err(text),
        Role::Dispatcher => dispatcher::DispatcherSetup::receive()
            .and_then(|mut start| {
                start.jail = part.plan(start.jail);
                start.run()
            })
            .map_err(text),
        Role::Compiler if part.compromised == Role::Compiler => Err(compromised_compiler::main(&part)),
        Role::Compiler => compiler::main().map_err(text),
        Role::Manager => manager::main().map_err(text),
        Role::Tasks => task_source::main().map(|never| match never {}).map_err(text),
    };
    if let Err(why) = result {
        eprintln!("attacker {}: {why}", role.name());
    }
    process::exit_now(1);
}
