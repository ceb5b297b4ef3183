//! Where in the tree of control groups a process may make groups of its own.
//!
//! That is below the group that it is in, if that was delegated: the user may write to it, and it has the memory
//! controller. The kernel does not let a group have both processes and a limit for groups below it, so the parent steps
//! aside, into a group `mpwasm.parent` below the one that it was in. It moves nobody else: where others are in the
//! group, there is no place. When the last pool has ended it steps back. (When it is killed it can't, and the kernel lets
//! nobody into its first group any more, until whoever delegated that makes it anew, as systemd does.)

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The group into which the parent steps aside.
const ASIDE: &str = "mpwasm.parent";

/// A delegated group, seen by one process.
#[derive(Debug)]
pub struct Place {
    /// The directory below which groups are made.
    base: PathBuf,
    pid: u32,
}

impl Place {
    /// This process's.
    ///
    /// # Errors
    /// When the machine has no control groups of version 2, or does not show this process its own.
    pub fn find() -> Result<Self, String> {
        let read = |path| fs::read_to_string(path).map_err(|error| format!("{path} can't be read: {error}"));
        let groups = read("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.ok_or("the kernel has no control groups of version 2")?;
        let mounts = read("/proc/self/mountinfo")?;
        let mount = mounts.lines().find_map(|line| {
            let (place, what) = line.split_once(" - ")?;
            // The fourth field is the part of the tree that is mounted, the fifth is where.
            let mut fields = place.split(' ').skip(3);
            let (part, at) = (fields.next()?, fields.next()?);
            (what.starts_with("cgroup2 ") && part == "/").then_some(at)
        });
        let mount = mount.ok_or("no control groups of version 2 are mounted")?;
        Ok(Self::at(Path::new(mount), own, std::process::id()))
    }

    /// The place of process `pid`, which is in the group `own` of the tree that is mounted at `mount`.
    pub fn at(mount: &Path, own: &str, pid: u32) -> Self {
        let own = mount.join(own.trim_start_matches('/'));
        let base = match own.parent() {
            // It has stepped aside already, or was started by one that had.
            Some(base) if own.ends_with(ASIDE) => base.to_owned(),
            _ => own,
        };
        Self { base, pid }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether groups can be made here; `true` when that needs the parent to step aside.
    ///
    /// # Errors
    /// When they can't: why not.
    pub fn check(&self) -> Result<bool, String> {
        let has = |file: &str| {
            let list = self.read(file)?;
            Ok::<_, String>(list.split_whitespace().any(|name| name == "memory"))
        };
        if !has("cgroup.controllers")? {
            return Err("its control group has no controller of memory".to_owned());
        }
        let files = ["", "cgroup.procs", "cgroup.subtree_control"];
        if files
            .iter()
            .any(|file| access(&self.base.join(file), AccessFlags::W_OK).is_err())
        {
            return Err("its control group was not delegated to this user".to_owned());
        }
        if has("cgroup.subtree_control")? {
            return Ok(false);
        }
        // The root of the whole tree may have both, and lacks this file.
        if !self.base.join("cgroup.type").exists() {
            return Ok(false);
        }
        let own = self.pid.to_string();
        match self.read("cgroup.procs")?.lines().all(|pid| pid == own) {
            true => Ok(true),
            false => Err("other processes are in its control group".to_owned()),
        }
    }

    /// Makes it so that groups with a limit can be made here.
    ///
    /// # Errors
    /// As [`Place::check`], or when the kernel refuses. Everything is as it was then.
    pub fn settle(&self) -> Result<(), String> {
        let must_step_aside = self.check()?;
        if must_step_aside {
            let aside = self.base.join(ASIDE);
            // One that was killed may have left it.
            if !aside.is_dir() {
                fs::create_dir(&aside).map_err(|error| format!("no group can be made: {error}"))?;
            }
            self.enter(&aside).inspect_err(|_| self.leave())?;
        }
        if self
            .read("cgroup.subtree_control")?
            .split_whitespace()
            .any(|name| name == "memory")
        {
            return Ok(());
        }
        self.control("+memory").inspect_err(|_| self.leave())
    }

    /// Takes [`Place::settle`] back, if this process is the only one for which it was done.
    pub fn leave(&self) {
        let aside = self.base.join(ASIDE);
        let Ok(members) = fs::read_to_string(aside.join("cgroup.procs")) else {
            return;
        };
        if members.trim() == self.pid.to_string()
            && self.control("-memory").is_ok()
            && self.enter(&self.base).is_ok()
        {
            let _ = fs::remove_dir(aside);
        }
    }

    fn enter(&self, group: &Path) -> Result<(), String> {
        fs::write(group.join("cgroup.procs"), self.pid.to_string())
            .map_err(|error| format!("the parent can't change its control group: {error}"))
    }

    fn control(&self, change: &str) -> Result<(), String> {
        fs::write(self.base.join("cgroup.subtree_control"), change)
            .map_err(|error| format!("the controller of memory can't be had: {error}"))
    }

    fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.base.join(file)).map_err(|error| format!("{file} can't be read: {error}"))
    }
}
