//! Pools with compromised processes.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mpwasm::objects::Manager;
use mpwasm::{Builder, DirGrant, Guest, Jail, Outcome, Pool, Reporter, TaskHandle};

use crate::support;

/// Longest time for anything that should be over soon, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The timeout of an attack that must end in another way, on a busy machine.
const AMPLE: Duration = Duration::from_secs(40);

/// The timeout of an attack that does not end.
pub const SOON: Duration = Duration::from_secs(2);

/// A guest, which the attackers do not run.
const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

/// Collects the warnings of the pool.
#[derive(Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Reporter for Warnings {
    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

/// A pool, and the folder of its attackers' executable.
pub struct Attacked {
    pub pool: Pool,
    pub guest: Guest,
    _folder: tempfile::TempDir,
}

impl Attacked {
    /// Starts a pool of `size` workers whose executable is the attacker with this name, in the strictest jail.
    pub fn start(name: &str, size: u32) -> Self {
        Self::built(Pool::builder(), name, size)
    }

    /// As [`start`](Self::start), with these granted directories.
    pub fn with_dirs(name: &str, size: u32, dirs: impl IntoIterator<Item = DirGrant>) -> Self {
        let builder = dirs.into_iter().fold(Pool::builder(), Builder::dir);
        Self::built(builder, name, size)
    }

    /// As [`start`](Self::start), with scratch directories of `bytes` bytes.
    pub fn with_tmp(name: &str, bytes: u64) -> Self {
        Self::built(Pool::builder().tmp(bytes), name, 1)
    }

    /// As [`start`](Self::start), with tasks that can use the objects of a manager.
    pub fn with_objects(name: &str, size: u32, manager: &Manager) -> Self {
        Self::built(Pool::builder().manager(manager), name, size)
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

    /// Starts this attack.
    pub fn attack(&self, attack: &str, target: &str) -> TaskHandle {
        self.attack_for(AMPLE, attack, target)
    }

    /// Starts this attack with a timeout.
    pub fn attack_for(&self, timeout: Duration, attack: &str, target: &str) -> TaskHandle {
        let task = self.guest.task((attack, target)).timeout(timeout);
        self.pool.submit(task).unwrap()
    }

    /// Makes an attack and returns its outcome.
    pub fn outcome(&self, attack: &str, target: &str) -> Outcome {
        in_time(&self.attack(attack, target))
    }

    /// Asserts that the pool still runs tasks, ends, and leaves nothing behind.
    pub fn assert_in_order(self) {
        for handle in [(); 4].map(|()| self.attack("none", "")) {
            let outcome = in_time(&handle);
            assert_eq!(outcome.status(), "ok", "{outcome:?}");
        }
        self.end();
    }

    /// Asserts that the pool ends and leaves nothing behind.
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

/// A process of the same user at which an attacker may aim.
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

    /// Asserts that it was not killed: it ends by itself at the end of its stdin.
    #[track_caller]
    pub fn assert_unharmed(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Waits for the outcome. Panics when it does not arrive in time.
pub fn in_time(handle: &TaskHandle) -> Outcome {
    handle.wait_timeout(PATIENCE).expect("the outcome comes in time")
}
