//! Which process of the pool misbehaves.

use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;

/// The behaviour of this copy, from the name of its file.
pub struct Part {
    /// The role that misbehaves.
    pub compromised: Role,
    /// Whether it installs the last layer of the sandbox.
    locks: bool,
}

impl Part {
    pub fn of_this_file() -> Self {
        let exe = std::env::current_exe().expect("a program has a file");
        let name = exe.to_string_lossy().into_owned();
        Self {
            compromised: if name.contains("attacker-dispatcher") {
                Role::Dispatcher
            } else if name.contains("attacker-compiler") {
                Role::Compiler
            } else {
                Role::Worker
            },
            locks: !name.contains("without-seccomp"),
        }
    }

    /// Returns the sandbox options of this copy.
    pub fn plan(&self, plan: Option<SandboxOptions>) -> Option<SandboxOptions> {
        plan.map(|plan| SandboxOptions {
            seccomp: plan.seccomp && self.locks,
            ..plan
        })
    }
}
