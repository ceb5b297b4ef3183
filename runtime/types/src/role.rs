//! What the processes of a pool are for, but for the parent.

/// What a re-executed copy of the binary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Process 2 of the topology.
    Dispatcher,
    /// Processes 3 and up.
    Worker,
    /// Compiles one guest.
    Compiler,
    /// Runs one guest's `tasks`.
    Tasks,
}

impl Role {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Dispatcher, Self::Worker, Self::Compiler, Self::Tasks];

    /// The role's name, as it stands in the list of processes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
            Self::Compiler => "compiler",
            Self::Tasks => "tasks",
        }
    }
}
