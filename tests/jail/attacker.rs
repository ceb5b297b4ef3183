//! Pools whose processes are attackers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mpwasm::{Builder, DirGrant, Guest, Jail, Outcome, Pool, Reporter, TaskHandle};

use crate::support;

/// How long anything may take that should be over soon: much, for a machine with much to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The timeout of an attack that is to end in another way, on such a machine.
const AMPLE: Duration = Duration::from_secs(40);

/// The timeout of an attack that does not end.
pub const SOON: Duration = Duration::from_secs(2);

/// A guest that the attackers do not run.
const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

/// Warnings that the pool gave.
#[derive(Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Reporter for Warnings {
    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

/// A pool, and what its attackers' executable lies in.
pub struct Attacked {
    pub pool: Pool,
    pub guest: Guest,
    _folder: tempfile::TempDir,
}

impl Attacked {
    /// A pool of `size` whose executable is the attacker under this name. The jail is as strict as can be.
    pub fn start(name: &str, size: u32) -> Self {
        Self::built(Pool::builder(), name, size)
    }

    /// As [`start`](Self::start), with these directories.
    pub fn with_dirs(name: &str, size: u32, dirs: impl IntoIterator<Item = DirGrant>) -> Self {
        let builder = dirs.into_iter().fold(Pool::builder(), Builder::dir);
        Self::built(builder, name, size)
    }

    /// As [`start`](Self::start), with scratch directories of `bytes` bytes.
    pub fn with_tmp(name: &str, bytes: u64) -> Self {
        Self::built(Pool::builder().tmp(bytes), name, 1)
    }

    fn built(builder: Builder, name: &str, size: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = builder
            .executable(support::attacker(folder.path(), name))
            .jail(Jail::Strict)
            .size(size)
            .reporter(Warnings::default())
            .start()
            .unwrap();
        let guest = pool.load_bytes("guest.wat", GUEST.as_bytes()).unwrap();
        Self {
            pool,
            guest,
            _folder: folder,
        }
    }

    /// Lets an attacker do this.
    pub fn attack(&self, attack: &str, target: &str) -> TaskHandle {
        self.attack_for(AMPLE, attack, target)
    }

    /// Lets an attacker do this for so long.
    pub fn attack_for(&self, timeout: Duration, attack: &str, target: &str) -> TaskHandle {
        let task = self.guest.task((attack, target)).timeout(timeout);
        self.pool.submit(task).unwrap()
    }

    /// The outcome of an attack.
    pub fn outcome(&self, attack: &str, target: &str) -> Outcome {
        in_time(&self.attack(attack, target))
    }

    /// The pool still does its work, and ends; nothing is left of it.
    pub fn assert_in_order(self) {
        for handle in [(); 4].map(|()| self.attack("none", "")) {
            let outcome = in_time(&handle);
            assert_eq!(outcome.status(), "ok", "{outcome:?}");
        }
        self.end();
    }

    /// The pool ends; nothing is left of it.
    pub fn end(self) {
        let dispatcher = self.pool.dispatcher_pid();
        let processes: Vec<_> = support::descendants(dispatcher)
            .into_iter()
            .chain([dispatcher])
            .map(support::pidfd)
            .collect();
        self.pool.stop().unwrap();
        support::assert_all_end(&processes, PATIENCE);
    }
}

/// A process of the same user's that an attacker may aim at.
pub struct Victim(std::process::Child);

impl Victim {
    pub fn new() -> Self {
        let child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// It was not killed: it ends by itself when there is nothing left to read.
    #[track_caller]
    pub fn assert_unharmed(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// The outcome, which must come.
pub fn in_time(handle: &TaskHandle) -> Outcome {
    handle.wait_timeout(PATIENCE).expect("the outcome comes in time")
}
