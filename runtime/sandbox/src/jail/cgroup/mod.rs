//! Limits the memory of all processes of a pool together, by a control group (version 2), if the machine delegates one to
//! the user.
//!
//! The parent creates the group. It adds the dispatcher and the process that runs `tasks` to it before they get their first
//! message. Workers inherit the group of their dispatcher. No sandboxed process has a file descriptor of the group. The
//! compiler stays outside, since it has a limit of its own.
//!
//! One group is enough. Its limit is the sum of the shares of all processes, so when the limit is reached, some process
//! exceeds its share. The kernel then kills the largest process that the out-of-memory score permits, which is a worker
//! that exceeds its share. The group has no swap.
//!
//! When the pool ends, the kernel kills all processes that remain in the group. If a parent was killed, the next parent
//! removes its group.
//!
//! [`delegation`] decides where groups can be created.

mod delegation;
mod error;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::delegation::DelegatedCgroup;
pub use self::error::CgroupError;
use mpwasm_system::clock;
use mpwasm_types::guest_info::MAX_TABLES;
use mpwasm_types::memory::TABLE_ELEMENT_SIZE;
use mpwasm_types::settings::Settings;

/// Bytes that a worker needs beside the memory, stack, tables, args and results of its task: mostly the engine's structures.
pub const WORKER_OVERHEAD: u64 = 256 << 20;
/// Bytes that the dispatcher needs beside the memory of callbacks. What waits in it is bounded.
pub const DISPATCHER_MEMORY: u64 = 512 << 20;

/// Prefix of the names of groups. The process id of the parent and a number follow.
const PREFIX: &str = "mpwasm-";
/// Longest time to wait until killed processes have left their group: 2 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The control group of a pool. It is removed when this is dropped, or by [`MemoryCgroup::remove`].
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    parent: DelegatedCgroup,
    is_removed: Mutex<bool>,
}

/// Held while a group is created or removed, since this process changes its own group with the first and the last one.
static LOCK: Mutex<()> = Mutex::new(());

/// Number of groups that this process has created.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl MemoryCgroup {
    /// Creates a group for a pool with these settings.
    ///
    /// # Errors
    /// With the reason why this process can't create groups.
    pub fn create(settings: &Settings) -> Result<Self, CgroupError> {
        Self::create_in(DelegatedCgroup::find()?, settings)
    }

    fn create_in(parent: DelegatedCgroup, settings: &Settings) -> Result<Self, CgroupError> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", parent.pid());
        // If one of the steps below fails, this is dropped, which undoes the others.
        let group = Self {
            path: parent.path().join(name),
            parent,
            is_removed: Mutex::new(false),
        };
        group.create_dir()?;
        group.write("memory.max", &limit(settings, 0).to_string())?;
        // The file does not exist if the kernel does not account swap.
        let _ = group.write("memory.swap.max", "0");
        Ok(group)
    }

    fn create_dir(&self) -> Result<(), CgroupError> {
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        self.parent.prepare()?;
        remove_orphans(self.parent.path());
        fs::create_dir(&self.path).map_err(CgroupError::Create)
    }

    /// Checks whether [`MemoryCgroup::create`] would succeed. Changes nothing.
    ///
    /// # Errors
    /// With the reason why it would not.
    pub fn probe() -> Result<(), CgroupError> {
        DelegatedCgroup::find()?.check().map(drop)
    }

    /// Adds a process, and all processes that it will spawn.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Raises the limit for a pool that has loaded `guests`, since each has callbacks of its own.
    pub fn raise_for_guests(&self, settings: &Settings, guests: u32) {
        // If it fails, callbacks of many guests have less memory.
        let _ = self.write("memory.max", &limit(settings, guests).to_string());
    }

    /// Kills all processes that remain in it, and removes it.
    pub fn remove(&self) {
        let mut is_removed = self.is_removed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut is_removed, true) {
            return;
        }
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // The file exists since Linux 5.14. Without it a remaining process keeps the group.
        let kill = File::options().write(true).open(self.path.join("cgroup.kill"));
        let _ = kill.and_then(|mut kill| kill.write_all(b"1"));
        let until = clock::now() + LEAVE_TIMEOUT;
        while fs::remove_dir(&self.path).is_err() && self.path.exists() && clock::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if groups(self.parent.path()).next().is_none() {
            self.parent.restore();
        }
    }

    fn write(&self, file: &'static str, text: &str) -> Result<(), CgroupError> {
        fs::write(self.path.join(file), text).map_err(|error| CgroupError::Write { file, error })
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the limit of a group, bytes: the sum of what each process of the pool may need.
fn limit(settings: &Settings, guests: u32) -> u64 {
    let buffers = settings
        .max_args
        .saturating_add(settings.max_result)
        .saturating_mul(4);
    let tables = u64::from(settings.max_table) * u64::from(MAX_TABLES) * TABLE_ELEMENT_SIZE;
    let share = settings
        .memory
        .saturating_add(settings.stack)
        .saturating_add(tables)
        .saturating_add(buffers)
        .saturating_add(settings.grants.tmp.unwrap_or(0))
        .saturating_add(WORKER_OVERHEAD);
    // With a process per task, the next process is spawned while the last one exits. One more runs a guest's `tasks`.
    let workers = u64::from(settings.size) + u64::from(settings.lent_workers());
    let processes = workers * 2 + 1;
    let callbacks = settings.callback_memory.saturating_mul(u64::from(guests));
    share
        .saturating_mul(processes)
        .saturating_add(DISPATCHER_MEMORY)
        .saturating_add(settings.stack)
        .saturating_add(callbacks)
}

/// Returns the groups of pools below `base`, with the process ids of their parents.
fn groups(base: &Path) -> impl Iterator<Item = (PathBuf, u32)> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let (pid, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
        Some((entry.path(), pid.parse().ok()?))
    })
}

/// Removes the groups of parents that were killed. The kernel keeps a group that still has a process.
fn remove_orphans(base: &Path) {
    for (path, pid) in groups(base) {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a directory that looks like the control group of process 77, with these controllers and processes.
    fn tree(controllers: &str, processes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("user/service");
        fs::create_dir_all(&own).unwrap();
        for (file, text) in [
            ("cgroup.type", "domain\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", ""),
            ("cgroup.procs", processes),
        ] {
            fs::write(own.join(file), text).unwrap();
        }
        folder
    }

    fn parent(folder: &tempfile::TempDir) -> DelegatedCgroup {
        DelegatedCgroup::at(folder.path(), "/user/service", 77)
    }

    fn read(folder: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(folder.path().join("user/service").join(file)).unwrap()
    }

    fn settings() -> Settings {
        Settings {
            size: 3,
            ..Settings::default()
        }
    }

    fn created(folder: &tempfile::TempDir) -> MemoryCgroup {
        MemoryCgroup::create_in(parent(folder), &settings()).unwrap()
    }

    /// Removes the group. In a real tree the kernel removes its files.
    fn remove(group: MemoryCgroup) {
        for file in fs::read_dir(&group.path).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        drop(group);
    }

    #[test]
    fn the_limit_counts_the_workers_that_run_while_tasks_wait_for_objects() {
        let of = |size, max_waiting| {
            let max_waiting = Some(max_waiting);
            limit(
                &Settings {
                    size,
                    max_waiting,
                    ..settings()
                },
                0,
            )
        };
        assert_eq!(of(3, 2), of(5, 0));
        assert!(of(3, 1) > of(3, 0));
    }

    #[test]
    fn a_process_that_is_alone_in_its_group_moves_aside_and_back() {
        let folder = tree("cpu memory pids\n", "77\n");
        let group = created(&folder);
        assert_eq!(read(&folder, "mpwasm.parent/cgroup.procs"), "77");
        assert_eq!(read(&folder, "cgroup.subtree_control"), "+memory");
        let name = group.path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("mpwasm-77-"), "{name}");
        let max: u64 = read(&folder, &format!("{name}/memory.max")).parse().unwrap();
        assert!(
            max > 6 * settings().memory,
            "room for every process that there may be"
        );
        assert_eq!(read(&folder, &format!("{name}/memory.swap.max")), "0");
        group.add(4711).unwrap();
        assert_eq!(read(&folder, &format!("{name}/cgroup.procs")), "4711");
        group.raise_for_guests(&settings(), 10);
        let more: u64 = read(&folder, &format!("{name}/memory.max")).parse().unwrap();
        assert_eq!(more, max + 10 * settings().callback_memory);

        remove(group);
        assert_eq!(groups(&folder.path().join("user/service")).count(), 0);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "-memory");
        assert_eq!(read(&folder, "cgroup.procs"), "77", "it has moved back");
    }

    #[test]
    fn the_parent_moves_back_only_after_its_last_pool() {
        let folder = tree("memory\n", "77\n");
        let [one, other] = [created(&folder), created(&folder)];
        assert_ne!(one.path, other.path);
        remove(one);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "+memory");
        remove(other);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "-memory");
    }

    #[test]
    fn a_group_with_other_processes_is_not_changed() {
        let folder = tree("memory\n", "77\n78\n");
        let why = MemoryCgroup::create_in(parent(&folder), &settings())
            .unwrap_err()
            .to_string();
        assert!(why.contains("other processes"), "{why}");
        assert_eq!(read(&folder, "cgroup.procs"), "77\n78\n");
        assert_eq!(read(&folder, "cgroup.subtree_control"), "");
        assert_eq!(
            fs::read_dir(folder.path().join("user/service")).unwrap().count(),
            4
        );
    }

    #[test]
    fn a_failed_creation_is_undone() {
        let folder = tree("memory\n", "77\n");
        let own = folder.path().join("user/service");
        // The controller can't be enabled.
        fs::remove_file(own.join("cgroup.subtree_control")).unwrap();
        fs::create_dir(own.join("cgroup.subtree_control")).unwrap();
        let why = MemoryCgroup::create_in(parent(&folder), &settings())
            .unwrap_err()
            .to_string();
        assert!(why.contains("subtree_control"), "{why}");
        assert_eq!(read(&folder, "cgroup.procs"), "77\n");
        assert_eq!(groups(&own).count(), 0);
    }

    #[test]
    fn no_group_is_created_without_the_memory_controller() {
        let folder = tree("cpu pids\n", "77\n");
        let why = MemoryCgroup::create_in(parent(&folder), &settings())
            .unwrap_err()
            .to_string();
        assert!(why.contains("memory"), "{why}");
    }

    #[test]
    fn the_next_pool_of_a_process_uses_the_prepared_group() {
        let folder = tree("memory\n", "");
        fs::write(
            folder.path().join("user/service/cgroup.subtree_control"),
            "memory\n",
        )
        .unwrap();
        fs::create_dir(folder.path().join("user/service/mpwasm.parent")).unwrap();
        let parent = DelegatedCgroup::at(folder.path(), "/user/service/mpwasm.parent", 77);
        let group = MemoryCgroup::create_in(parent, &settings()).unwrap();
        assert_eq!(group.path.parent(), Some(&*folder.path().join("user/service")));
        assert_eq!(read(&folder, "cgroup.subtree_control"), "memory\n");
        remove(group);
    }

    #[test]
    fn groups_of_ended_parents_are_removed_and_those_of_running_ones_are_kept() {
        let folder = tree("memory\n", "77\n");
        let own = folder.path().join("user/service");
        // No process has the first number: it is above the limit of the kernel.
        let [ended, running] = [4_194_305, std::process::id()].map(|pid| own.join(format!("mpwasm-{pid}-0")));
        for group in [&ended, &running] {
            fs::create_dir(group).unwrap();
        }
        let group = created(&folder);
        assert!(!ended.exists() && running.exists());
        remove(group);
    }
}
