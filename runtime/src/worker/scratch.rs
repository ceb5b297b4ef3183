//! Clears the scratch directory after a task: nothing of it is there for the next one.
//!
//! What a guest leaves there is arranged as it likes: deeper than any stack or table of descriptors, for one. So what is in
//! a directory is moved up before the directory goes; no more than two are open at a time.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, Result};

use crate::grants::Granted;

/// How directories are opened: no link is followed.
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The scratch directory of this worker's tasks, where they are granted one.
#[derive(Debug)]
pub struct Scratch(Option<OwnedFd>);

impl Scratch {
    /// That of these grants.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn of(granted: &Granted) -> std::io::Result<Self> {
        let dir = granted.scratch.as_ref();
        Ok(Self(dir.map(|dir| dir.fd.try_clone()).transpose()?))
    }

    /// Removes all that is in it, where there is one.
    ///
    /// # Errors
    /// When something can't be removed: it must not be used any more.
    pub fn clear(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), clear)
    }
}

/// Removes all that is in `root`.
fn clear(root: impl AsFd) -> Result<()> {
    let root = root.as_fd();
    let mut lifted = 0;
    loop {
        let before = lifted;
        for name in names(root)? {
            remove(root, &name, &mut lifted)?;
        }
        // What was moved up may have come too late to be seen.
        if lifted == before {
            return Ok(());
        }
    }
}

/// What is in a directory.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    // Anew: the descriptor may be one for nothing but paths, and a directory is read once.
    let opened = openat(dir, c".", DIRECTORY, Mode::empty())?;
    for entry in Dir::new(opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn remove(root: BorrowedFd<'_>, name: &CStr, lifted: &mut u64) -> Result<()> {
    match unlinkat(root, name, AtFlags::empty()) {
        // Linux says the first, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    if let Err(Errno::NOTEMPTY) = unlinkat(root, name, AtFlags::REMOVEDIR) {
        let dir = openat(root, name, DIRECTORY, Mode::empty())?;
        for child in names(dir.as_fd())? {
            lift(dir.as_fd(), &child, root, lifted)?;
        }
        return unlinkat(root, name, AtFlags::REMOVEDIR);
    }
    Ok(())
}

/// Moves what has this name in `dir` to `root`, under a name that is free there or that goes with it.
fn lift(dir: BorrowedFd<'_>, name: &CStr, root: BorrowedFd<'_>, lifted: &mut u64) -> Result<()> {
    loop {
        *lifted += 1;
        match renameat(dir, name, root, lifted.to_string()) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {}
            done => return done,
        }
    }
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
    fn names_that_clearing_itself_would_choose_are_no_hindrance() {
        cleared(|root| {
            for name in ["1", "2", "4"] {
                fs::create_dir_all(root.join(name).join("full/of")).unwrap();
            }
            fs::write(root.join("3"), "").unwrap();
            fs::create_dir_all(root.join("many")).unwrap();
            for number in 0..500 {
                fs::write(root.join(format!("many/{number}")), "").unwrap();
            }
        });
    }
}
