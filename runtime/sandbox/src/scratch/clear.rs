//! Clears the scratch directory after a task, so that the next task finds nothing of it.
//!
//! A guest can arrange it as it likes: deeper than any stack or table of file descriptors allows, with links between all
//! of its parts. So the way down is kept as a list of names, and the way up is `..`. At most three directories are open
//! at a time.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, Result};

use mpwasm_types::grants::Granted;

/// The scratch directory of a worker's tasks, if one is granted.
#[derive(Debug)]
pub struct ScratchDir(Option<OwnedFd>);

impl ScratchDir {
    /// Returns the scratch directory of these grants.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn of(granted: &Granted) -> std::io::Result<Self> {
        let dir = granted.scratch.as_ref();
        Ok(Self(dir.map(|dir| dir.fd.try_clone()).transpose()?))
    }

    /// Returns whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Removes its contents, if there is one.
    ///
    /// # Errors
    /// When an entry can't be removed. The directory must not be used any more then.
    pub fn clear(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), clear)
    }
}

/// Removes the contents of `root`.
fn clear(root: impl AsFd) -> Result<()> {
    let mut dir = open(root.as_fd(), c".")?;
    // The names that remain in each directory on the way down to `dir`. The last name of each level but the lowest is
    // that of the directory below it.
    let mut levels = vec![names(&dir)?];
    while let Some(left) = levels.last_mut() {
        let Some(name) = left.last() else {
            levels.pop();
            if let Some(above) = levels.last_mut() {
                dir = open(dir.as_fd(), c"..")?;
                let name = above
                    .pop()
                    .expect("a directory is in the list of its parent until it is removed");
                unlinkat(&dir, &name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        match unlinkat(&dir, name, AtFlags::empty()) {
            // Both mean a directory: the first on Linux, the second by POSIX.
            Err(Errno::ISDIR | Errno::PERM) => {
                dir = open(dir.as_fd(), name)?;
                levels.push(names(&dir)?);
            }
            done => {
                done?;
                left.pop();
            }
        }
    }
    Ok(())
}

/// Opens a directory, without following a link.
fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Returns the names of the entries of a directory.
fn names(dir: &OwnedFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::new(open(dir.as_fd(), c".")?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn cleared(make: impl FnOnce(&Path)) {
        let root = tempfile::tempdir().unwrap();
        make(root.path());
        let dir = fs::File::open(root.path()).unwrap();
        clear(&dir).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_links_and_folders_go_and_what_links_point_at_stays() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("kept"), "").unwrap();
        cleared(|root| {
            fs::write(root.join("a"), "").unwrap();
            fs::hard_link(root.join("a"), root.join("b")).unwrap();
            symlink(other.path(), root.join("c")).unwrap();
            fs::create_dir_all(root.join("d/e")).unwrap();
            symlink(other.path(), root.join("d/f")).unwrap();
        });
        assert!(other.path().join("kept").exists());
    }

    #[test]
    fn a_tree_that_is_deeper_than_descriptors_and_paths_allow_goes() {
        cleared(|root| {
            let mut dir = fs::File::open(root).unwrap();
            for _ in 0..3000 {
                rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
                dir = openat(&dir, "d", OFlags::DIRECTORY, Mode::empty())
                    .unwrap()
                    .into();
            }
        });
    }

    #[test]
    fn folders_with_many_entries_and_links_between_them_go() {
        cleared(|root| {
            fs::write(root.join("1"), "").unwrap();
            for folder in ["2", "3/4", "3/5"].map(|name| root.join(name)) {
                fs::create_dir_all(&folder).unwrap();
                fs::hard_link(root.join("1"), folder.join("1")).unwrap();
                for number in 2..500 {
                    fs::create_dir_all(folder.join(format!("{number}/6"))).unwrap();
                }
            }
        });
    }
}
