//! The limit of memory around all processes of a pool: a control group of its own (version 2), where the machine lets the
//! user have one.
//!
//! The parent makes the group and puts the dispatcher and the process that runs `tasks` into it, before these are told
//! what to do; workers are born in their dispatcher's. Nothing behind a wall has a descriptor of the group. (The
//! compiler stays outside: it has a limit of its own.)
//!
//! One group is enough. Its limit is the sum of the shares of all processes, so when it is reached, some process is beyond
//! its share; the kernel then ends the largest one that the out-of-memory score says may die, which is a worker that had
//! more than others may have. There is no swap in it.
//!
//! When the pool ends, the kernel kills what is left in the group, however it came there. What a parent left behind that
//! was killed itself is removed by the next one that comes here.
//!
//! Where groups may be made is for [`place`] to say.

mod place;

use mpwasm_system::clock;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::place::Place;
use mpwasm_types::settings::{DISPATCHER_MEMORY, MAX_TABLES, Settings, TABLE_ELEMENT_SIZE, WORKER_OVERHEAD};

/// The names of groups begin so; the process id of the parent and a number follow.
const PREFIX: &str = "mpwasm-";
/// Processes that were killed take a moment to leave their group.
const LEAVING: Duration = Duration::from_secs(2);

/// A pool's group. It is removed when this is dropped, or before.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    place: Place,
    is_removed: Mutex<bool>,
}

/// Groups of this process are made and removed one at a time: its own place changes with the first and the last.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How many this process has made.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl MemoryCgroup {
    /// A group for a pool with these settings.
    ///
    /// # Errors
    /// When the machine lets this process have none: why not.
    pub fn create(settings: &Settings) -> Result<Self, String> {
        Self::create_at(Place::find()?, settings)
    }

    fn create_at(place: Place, settings: &Settings) -> Result<Self, String> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", place.pid());
        // When one of the steps below fails, this is dropped, and what was done is undone.
        let group = Self {
            path: place.base().join(name),
            place,
            is_removed: Mutex::new(false),
        };
        group.make()?;
        group.write("memory.max", &limit(settings, 0).to_string())?;
        // A kernel that can't count swap has no such file.
        let _ = group.write("memory.swap.max", "0");
        Ok(group)
    }

    fn make(&self) -> Result<(), String> {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.place.settle()?;
        sweep(self.place.base());
        fs::create_dir(&self.path).map_err(|error| format!("no group can be made: {error}"))
    }

    /// What this machine would say to [`MemoryCgroup::create`]; nothing is changed.
    ///
    /// # Errors
    /// Why there would be none.
    pub fn probe() -> Result<(), String> {
        Place::find()?.check().map(drop)
    }

    /// Puts a process into it, with what it will start.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, pid: u32) -> Result<(), String> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The pool has so many guests now: each has callbacks of its own.
    pub fn grow(&self, settings: &Settings, guests: u32) {
        // Where it can't be, callbacks of many guests have less memory than they might.
        let _ = self.write("memory.max", &limit(settings, guests).to_string());
    }

    /// The pool is over: kills what is left in it, and removes it.
    pub fn remove(&self) {
        let mut is_removed = self.is_removed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut is_removed, true) {
            return;
        }
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // Before Linux 5.14 there is no such file, and then what is left keeps the group.
        let kill = File::options().write(true).open(self.path.join("cgroup.kill"));
        let _ = kill.and_then(|mut kill| kill.write_all(b"1"));
        let until = clock::now() + LEAVING;
        while fs::remove_dir(&self.path).is_err() && self.path.exists() && clock::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if groups(self.place.base()).next().is_none() {
            self.place.leave();
        }
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.path.join(file), text).map_err(|error| format!("{file} can't be written: {error}"))
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The limit of a group, bytes: what all processes of the pool may need at most, together.
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
    // With a process for each task, the next one comes while one goes. And one runs a guest's `tasks`.
    let processes = u64::from(settings.size) * 2 + 1;
    let callbacks = settings.callback_memory.saturating_mul(u64::from(guests));
    share
        .saturating_mul(processes)
        .saturating_add(DISPATCHER_MEMORY)
        .saturating_add(settings.stack)
        .saturating_add(callbacks)
}

/// The groups of pools below `base`, with the process ids of their parents.
fn groups(base: &Path) -> impl Iterator<Item = (PathBuf, u32)> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let (pid, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
        Some((entry.path(), pid.parse().ok()?))
    })
}

/// Removes what parents that were killed have left behind. The kernel removes no group that has a process.
fn sweep(base: &Path) {
    for (path, pid) in groups(base) {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like the control group of process 77, with these controllers, and processes.
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

    fn place(folder: &tempfile::TempDir) -> Place {
        Place::at(folder.path(), "/user/service", 77)
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

    fn made(folder: &tempfile::TempDir) -> MemoryCgroup {
        MemoryCgroup::create_at(place(folder), &settings()).unwrap()
    }

    /// Removes it. In a real tree a group's files go with it.
    fn end(group: MemoryCgroup) {
        for file in fs::read_dir(&group.path).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        drop(group);
    }

    #[test]
    fn a_process_that_is_alone_in_its_group_makes_way_for_the_pools() {
        let folder = tree("cpu memory pids\n", "77\n");
        let group = made(&folder);
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
        group.grow(&settings(), 10);
        let more: u64 = read(&folder, &format!("{name}/memory.max")).parse().unwrap();
        assert_eq!(more, max + 10 * settings().callback_memory);

        end(group);
        assert_eq!(groups(&folder.path().join("user/service")).count(), 0);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "-memory");
        assert_eq!(read(&folder, "cgroup.procs"), "77", "it has stepped back");
    }

    #[test]
    fn the_parent_steps_back_after_its_last_pool_only() {
        let folder = tree("memory\n", "77\n");
        let [one, other] = [made(&folder), made(&folder)];
        assert_ne!(one.path, other.path);
        end(one);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "+memory");
        end(other);
        assert_eq!(read(&folder, "cgroup.subtree_control"), "-memory");
    }

    #[test]
    fn where_others_are_nothing_is_touched() {
        let folder = tree("memory\n", "77\n78\n");
        let why = MemoryCgroup::create_at(place(&folder), &settings()).unwrap_err();
        assert!(why.contains("other processes"), "{why}");
        assert_eq!(read(&folder, "cgroup.procs"), "77\n78\n");
        assert_eq!(read(&folder, "cgroup.subtree_control"), "");
        assert_eq!(
            fs::read_dir(folder.path().join("user/service")).unwrap().count(),
            4
        );
    }

    #[test]
    fn what_leads_to_nothing_leaves_nothing_behind() {
        let folder = tree("memory\n", "77\n");
        let own = folder.path().join("user/service");
        // A controller that can't be had.
        fs::remove_file(own.join("cgroup.subtree_control")).unwrap();
        fs::create_dir(own.join("cgroup.subtree_control")).unwrap();
        let why = MemoryCgroup::create_at(place(&folder), &settings()).unwrap_err();
        assert!(why.contains("subtree_control"), "{why}");
        assert_eq!(read(&folder, "cgroup.procs"), "77\n");
        assert_eq!(groups(&own).count(), 0);
    }

    #[test]
    fn without_the_controller_there_is_none() {
        let folder = tree("cpu pids\n", "77\n");
        let why = MemoryCgroup::create_at(place(&folder), &settings()).unwrap_err();
        assert!(why.contains("memory"), "{why}");
    }

    #[test]
    fn the_next_pool_of_a_process_finds_its_place_made() {
        let folder = tree("memory\n", "");
        fs::write(
            folder.path().join("user/service/cgroup.subtree_control"),
            "memory\n",
        )
        .unwrap();
        fs::create_dir(folder.path().join("user/service/mpwasm.parent")).unwrap();
        let place = Place::at(folder.path(), "/user/service/mpwasm.parent", 77);
        let group = MemoryCgroup::create_at(place, &settings()).unwrap();
        assert_eq!(group.path.parent(), Some(&*folder.path().join("user/service")));
        assert_eq!(read(&folder, "cgroup.subtree_control"), "memory\n");
        end(group);
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_have_is_not() {
        let folder = tree("memory\n", "77\n");
        let own = folder.path().join("user/service");
        // No process has such a number: it is above the kernel's limit.
        let [dead, living] = [4_194_305, std::process::id()].map(|pid| own.join(format!("mpwasm-{pid}-0")));
        for group in [&dead, &living] {
            fs::create_dir(group).unwrap();
        }
        let group = made(&folder);
        assert!(!dead.exists() && living.exists());
        end(group);
    }
}
