//! A worker, or a dispatcher, that was taken over: it builds its jail as the real one does, and then misbehaves as the
//! args of its tasks say. The tests name it as the executable of a pool.
//!
//! It is a program of its own, made from the same sources, so that nothing in the shipped binary can be told to
//! misbehave or to skip a check. What it is depends on the name of its file:
//!
//! - `attacker`: its workers are attackers behind all walls;
//! - `attacker-without-seccomp`: its dispatcher and its workers skip the last wall, so that what the others stop can be
//!   seen;
//! - `attacker-dispatcher`: its dispatcher is the attacker;
//! - `attacker-dispatcher-without-seccomp`;
//! - `attacker-compiler`: its compiler is the attacker.
//!
//! Started as no process of a pool it is the command line of `mpwasm`, whose processes are made from it.

mod calls;
mod evil_compiler;
mod evil_dispatcher;
mod evil_worker;
mod file_calls;

use mpwasm_host::{compiler, dispatcher, task_source, worker};
use mpwasm_system::process;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;

/// The attack of this copy, by the name of its file.
struct Part {
    /// The role that misbehaves.
    evil: Role,
    /// Whether it puts up the last wall.
    locks: bool,
}

impl Part {
    fn of_this_file() -> Self {
        let exe = std::env::current_exe().expect("a program has a file");
        let name = exe.to_string_lossy().into_owned();
        Self {
            evil: if name.contains("attacker-dispatcher") {
                Role::Dispatcher
            } else if name.contains("attacker-compiler") {
                Role::Compiler
            } else {
                Role::Worker
            },
            locks: !name.contains("without-seccomp"),
        }
    }

    /// The plan that this copy keeps to.
    fn plan(&self, plan: Option<SandboxOptions>) -> Option<SandboxOptions> {
        plan.map(|plan| SandboxOptions {
            seccomp: plan.seccomp && self.locks,
            ..plan
        })
    }
}

fn main() {
    let Some(role) = process::role() else {
        mpwasm::init();
        mpwasm_cli::main();
    };
    let part = Part::of_this_file();
    let result = match role {
        Role::Worker if part.evil == Role::Worker => Err(evil_worker::main(&part)),
        Role::Dispatcher if part.evil == Role::Dispatcher => Err(evil_dispatcher::main(&part)),
        Role::Worker => Err(worker::main()),
        Role::Dispatcher => dispatcher::Start::receive().and_then(|mut start| {
            start.jail = part.plan(start.jail);
            start.run()
        }),
        Role::Compiler if part.evil == Role::Compiler => Err(evil_compiler::main(&part)),
        Role::Compiler => compiler::main(),
        Role::Tasks => Err(task_source::main()),
    };
    if let Err(why) = result {
        eprintln!("attacker {}: {why}", role.name());
    }
    process::exit_now(1);
}
