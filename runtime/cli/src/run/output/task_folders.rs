//! The folders of `--results-dir`: one per task.
//!
//! Every file is opened relative to the descriptor of `DIR`, one name at a time, without following links. A folder must belong to
//! this user. Each file is created anew, and replaces one of an earlier run.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use mpwasm::TaskId;
use mpwasm::escape::Untrusted;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::run::output::results::EarlierResults;

/// The name of the file with a task's record.
pub const RECORD: &str = "record.json";

/// The folder of `--results-dir`, which has the folders of tasks.
#[derive(Debug)]
pub struct TaskFolders {
    path: PathBuf,
    root: OwnedFd,
}

impl TaskFolders {
    /// Opens the folder, and creates it if it does not exist.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        // Without a trailing slash, which would follow a link.
        let path: PathBuf = path.components().collect();
        let made = match fs::create_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()), // open_folder checks its type
            made => made,
        };
        let root = made.and_then(|()| open_folder(AT_FDCWD, &path));
        Ok(Self {
            root: root.with_context(|| Untrusted::from(&path).to_string())?,
            path,
        })
    }

    /// Prepares the folder for a run. With [`EarlierResults::Overwrite`] it removes the results of an earlier run.
    ///
    /// # Errors
    /// When there are such results, and the run neither resumes nor overwrites them.
    pub fn begin(&self, earlier: EarlierResults) -> io::Result<()> {
        if matches!(earlier, EarlierResults::Resume | EarlierResults::RetryFailed) {
            return Ok(());
        }
        let listed = File::from(openat(&self.root, ".", FOLDER, Mode::empty())?);
        let mut listed = Dir::from_fd(listed.into())?;
        for entry in listed.iter() {
            let entry = entry?;
            let Some(id) = task_id(entry.file_name()) else {
                continue;
            };
            if earlier != EarlierResults::Overwrite {
                let path = Untrusted::from(&self.path);
                return Err(io::Error::other(format!(
                    "there are results of an earlier run in {path}, such as {id}: continue it with --resume or --retry-failed, \
                     replace its results with --overwrite, or name another folder"
                )));
            }
            self.remove_task(id)?;
        }
        Ok(())
    }

    /// Removes the files of a task of an earlier run, and no others. A folder of another user is kept, and is an error if a
    /// task's files are to be written there.
    fn remove_task(&self, id: TaskId) -> io::Result<()> {
        let name = id.to_string();
        let Ok(folder) = self.open_task_folder(&name) else {
            return Ok(());
        };
        for file in [stream_name(false), stream_name(true), RECORD] {
            remove(&folder, file)?;
        }
        match unlinkat(&self.root, name.as_str(), UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => Ok(()), // it has files of the user
            result => Ok(result?),
        }
    }

    /// Opens the folder of a task, and creates it if it does not exist.
    pub fn create_task_folder(&self, id: TaskId) -> io::Result<OwnedFd> {
        let name = id.to_string();
        match mkdirat(&self.root, name.as_str(), Mode::from_bits_truncate(0o777)) {
            Ok(()) => open_folder(&self.root, Path::new(&name)),
            Err(Errno::EEXIST) => self.open_task_folder(&name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the existing folder of a task.
    fn open_task_folder(&self, name: &str) -> io::Result<OwnedFd> {
        let refused = |why: &dyn std::fmt::Display| {
            let path = self.path.join(name);
            io::Error::other(format!("{}: {why}", Untrusted::from(&path)))
        };
        let folder = open_folder(&self.root, Path::new(name)).map_err(|error| refused(&error))?;
        match fstat(&folder)?.st_uid == geteuid().as_raw() {
            true => Ok(folder),
            false => Err(refused(&"it belongs to another user")),
        }
    }

    /// Returns the path of a file of a task, for messages.
    pub fn path_of(&self, id: TaskId, name: &str) -> PathBuf {
        self.path.join(id.to_string()).join(name)
    }
}

/// Returns the name of the file with a stream of a task.
pub fn stream_name(is_stderr: bool) -> &'static str {
    match is_stderr {
        false => "stdout",
        true => "stderr",
    }
}

/// Flags with which a folder is opened.
const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens a folder that is no symbolic link.
fn open_folder(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    openat(at, path, FOLDER, Mode::empty()).map_err(|errno| match errno {
        Errno::ELOOP | Errno::ENOTDIR => {
            io::Error::other("it is no folder, or a symbolic link to one, and no link is followed")
        }
        errno => errno.into(),
    })
}

/// Creates a file, and replaces one of the same name.
pub fn create(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let make = || openat(folder, name, flags, Mode::from_bits_truncate(0o666));
    let made = match make() {
        Err(Errno::EEXIST) => {
            remove(folder, name)?;
            make()
        }
        made => made,
    };
    Ok(made?.into())
}

/// Removes a file, if it exists.
pub fn remove(folder: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the id of the task whose folder has this name.
fn task_id(name: &CStr) -> Option<TaskId> {
    let name = name.to_str().ok()?;
    name.parse()
        .ok()
        .filter(|id: &u64| id.to_string() == name)
        .map(TaskId)
}
