//! Clears the scratch directory after a task: nothing of it is there for the next one.
//!
//! What a guest leaves there is arranged as it likes: deeper than any stack or table of descriptors, for one. So what is in
//! a directory is moved up before the directory goes; no more than two are open at a time.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, Result};

/// Removes all that is in `root`.
///
/// # Errors
/// When something can't be removed: it must not be used any more.
pub fn clear(root: impl AsFd) -> Result<()> {
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
    for entry in Dir::read_from(dir)? {
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
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(root, name, flags, Mode::empty())?;
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
                dir = openat(&dir, "d", OFlags::DIRECTORY, Mode::empty()).unwrap().into();
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
