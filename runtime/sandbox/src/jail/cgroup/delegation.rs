//! Finds the control group below which a process can create groups of its own.
//!
//! That is the group of the process itself, if it is delegated: the user may write to it, and it has the memory controller.
//! The kernel does not permit a group to contain both processes and groups with a limit. So the parent moves aside, into a
//! group `mpwasm.parent` below its own. It does not move other processes: if there are any in the group, no groups can be
//! created. The parent moves back when its last pool has ended. A parent that is killed can't: the kernel then permits no process
//! in the first group until that group is created anew, for example by systemd.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::error::CgroupError;

/// Name of the group into which the parent moves aside.
const PARENT_GROUP: &str = "mpwasm.parent";

/// The delegated control group of a process.
#[derive(Debug)]
pub struct DelegatedCgroup {
    /// The directory in which groups are created.
    path: PathBuf,
    pid: u32,
}

impl DelegatedCgroup {
    /// Returns the delegated group of this process.
    ///
    /// # Errors
    /// When the machine has no control groups of version 2, or that of this process is not visible.
    pub fn find() -> Result<Self, CgroupError> {
        let read = |file| fs::read_to_string(file).map_err(|error| CgroupError::Read { file, error });
        let groups = read("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.ok_or(CgroupError::NotInKernel)?;
        let mounts = read("/proc/self/mountinfo")?;
        let mount = mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            // The fourth field is the part of the tree that is mounted, the fifth is the mount point.
            let mut fields = place.split(' ').skip(3);
            let (part, at) = (fields.next()?, fields.next()?);
            (kind.starts_with("cgroup2 ") && part == "/").then_some(at)
        });
        let mount = mount.ok_or(CgroupError::NotMounted)?;
        Ok(Self::at(Path::new(mount), own, std::process::id()))
    }

    /// Returns the delegated group of process `pid`, which is in the group `own` of the tree that is mounted at `mount`.
    pub fn at(mount: &Path, own: &str, pid: u32) -> Self {
        let own = mount.join(own.trim_start_matches('/'));
        let path = match own.parent() {
            // It has moved aside already, or its starter had.
            Some(base) if own.ends_with(PARENT_GROUP) => base.to_owned(),
            _ => own,
        };
        Self { path, pid }
    }

    /// Returns its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the process whose group it is.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Checks whether groups can be created here. Returns whether the parent must move aside for that.
    ///
    /// # Errors
    /// With the reason why they can't be created.
    pub fn check(&self) -> Result<bool, CgroupError> {
        let has = |file| {
            let list = self.read(file)?;
            Ok::<_, CgroupError>(list.split_whitespace().any(|name| name == "memory"))
        };
        if !has("cgroup.controllers")? {
            return Err(CgroupError::NoMemoryController);
        }
        let files = ["", "cgroup.procs", "cgroup.subtree_control"];
        if files
            .iter()
            .any(|file| access(&self.path.join(file), AccessFlags::W_OK).is_err())
        {
            return Err(CgroupError::NotDelegated);
        }
        if has("cgroup.subtree_control")? {
            return Ok(false);
        }
        // The root of the tree lacks this file. It may contain both processes and groups with a limit.
        if !self.path.join("cgroup.type").exists() {
            return Ok(false);
        }
        let own = self.pid.to_string();
        match self.read("cgroup.procs")?.lines().all(|pid| pid == own) {
            true => Ok(true),
            false => Err(CgroupError::OtherProcesses),
        }
    }

    /// Moves this process aside if it must, and enables the memory controller for groups below.
    ///
    /// # Errors
    /// As [`DelegatedCgroup::check`], or when the kernel refuses. All changes are undone then.
    pub fn prepare(&self) -> Result<(), CgroupError> {
        let must_move_aside = self.check()?;
        if must_move_aside {
            let aside = self.path.join(PARENT_GROUP);
            // A parent that was killed may have left it.
            if !aside.is_dir() {
                fs::create_dir(&aside).map_err(CgroupError::Create)?;
            }
            self.enter(&aside).inspect_err(|_| self.restore())?;
        }
        if self
            .read("cgroup.subtree_control")?
            .split_whitespace()
            .any(|name| name == "memory")
        {
            return Ok(());
        }
        self.change_controllers("+memory").inspect_err(|_| self.restore())
    }

    /// Undoes [`DelegatedCgroup::prepare`], if no other process is in the group aside.
    pub fn restore(&self) {
        let aside = self.path.join(PARENT_GROUP);
        let Ok(members) = fs::read_to_string(aside.join("cgroup.procs")) else {
            return;
        };
        if members.trim() == self.pid.to_string()
            && self.change_controllers("-memory").is_ok()
            && self.enter(&self.path).is_ok()
        {
            let _ = fs::remove_dir(aside);
        }
    }

    fn enter(&self, group: &Path) -> Result<(), CgroupError> {
        fs::write(group.join("cgroup.procs"), self.pid.to_string()).map_err(CgroupError::Move)
    }

    fn change_controllers(&self, change: &str) -> Result<(), CgroupError> {
        fs::write(self.path.join("cgroup.subtree_control"), change).map_err(CgroupError::Controller)
    }

    fn read(&self, file: &'static str) -> Result<String, CgroupError> {
        fs::read_to_string(self.path.join(file)).map_err(|error| CgroupError::Read { file, error })
    }
}
