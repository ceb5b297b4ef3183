//! Roles of a pool's child processes.

/// The role of a child process, which is a re-executed copy of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Schedules tasks and runs callbacks. One per pool.
    Dispatcher,
    /// Runs tasks.
    Worker,
    /// Compiles one guest.
    Compiler,
    /// Runs one guest's `tasks`.
    Tasks,
    /// Holds the objects that tasks share.
    Manager,
}

impl Role {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::Dispatcher,
        Self::Worker,
        Self::Compiler,
        Self::Tasks,
        Self::Manager,
    ];

    /// Returns the role's name, as the list of processes shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
            Self::Compiler => "compiler",
            Self::Tasks => "tasks",
            Self::Manager => "manager",
        }
    }
}
