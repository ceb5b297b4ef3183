//! Attacks on files: system calls by which an attacker in a compromised worker would change read-only files, or leave the
//! granted directories. A target is a path, or two with a tab between them.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{CWD, Mode, mkdirat, readlinkat, symlinkat};

use crate::attempted::{Attempted, result};

/// Makes one attack.
pub fn attempt(attack: &str, target: &str) -> Attempted {
    let (first, second) = target.split_once('\t').unwrap_or((target, ""));
    let path = |text: &str| CString::new(text).expect("a test's path has no NUL");
    let (first, second) = (path(first), path(second));
    let (first, second) = (first.as_ptr(), second.as_ptr());
    let here = libc::AT_FDCWD;
    let zero: libc::c_long = 0;
    let open = |flags: libc::c_int| {
        // SAFETY: the path ends with NUL.
        result(unsafe { libc::syscall(libc::SYS_openat, here, first, flags, 0o600) })
    };
    // SAFETY: each call gets paths that end with NUL, and otherwise numbers or null.
    unsafe {
        match attack {
            "open to write" => open(libc::O_WRONLY),
            "open to truncate" => open(libc::O_RDONLY | libc::O_TRUNC),
            "open a folder" => open(libc::O_RDONLY | libc::O_DIRECTORY),
            "open in another way to write" => {
                // `struct open_how`: flags, mode and how paths are resolved.
                let how = [libc::O_WRONLY as u64, 0, 0];
                let how = how.as_ptr();
                result(libc::syscall(libc::SYS_openat2, here, first, how, 24_usize))
            }
            "truncate" => result(libc::syscall(libc::SYS_truncate, first, zero)),
            "rename" => result(libc::syscall(libc::SYS_renameat, here, first, here, second)),
            "link" => result(libc::syscall(libc::SYS_linkat, here, first, here, second, zero)),
            "symlink" => result(libc::syscall(libc::SYS_symlinkat, first, here, second)),
            "unlink" => result(libc::syscall(libc::SYS_unlinkat, here, first, zero)),
            "rmdir" => result(libc::syscall(libc::SYS_unlinkat, here, first, libc::AT_REMOVEDIR)),
            "mkdir" => result(libc::syscall(libc::SYS_mkdirat, here, first, 0o777)),
            "mkdir that nobody can look into" => result(libc::syscall(libc::SYS_mkdirat, here, first, 0o300)),
            "fifo" => result(libc::syscall(
                libc::SYS_mknodat,
                here,
                first,
                libc::S_IFIFO | 0o600,
                zero,
            )),
            "times" => result(libc::syscall(
                libc::SYS_utimensat,
                here,
                first,
                std::ptr::null::<libc::timespec>(),
                zero,
            )),
            "chmod" => result(libc::syscall(libc::SYS_fchmodat, here, first, 0o777)),
            "chown" => result(libc::syscall(libc::SYS_fchownat, here, first, 1, 1, zero)),
            "attribute" => result(libc::syscall(
                libc::SYS_setxattr,
                first,
                c"user.name".as_ptr(),
                c"value".as_ptr(),
                5_usize,
                zero,
            )),
            "enlarge" => result(libc::syscall(libc::SYS_fspick, here, first, zero)),
            other => attempt_safely(other, target).unwrap_or(Attempted::Unknown),
        }
    }
}

/// Makes attacks for which the standard library or rustix has a safe function.
fn attempt_safely(attack: &str, target: &str) -> Option<Attempted> {
    let (path, rest) = target.split_once('\t').unwrap_or((target, ""));
    let done = match attack {
        // The standard library's function makes another system call, which is forbidden.
        "read a link" => readlinkat(CWD, path, Vec::new()).map(drop).map_err(Into::into),
        "look at" => fs::symlink_metadata(path).map(drop),
        "fill" => fill(path, rest.parse().unwrap_or(0)),
        "make many files" => (0..rest.parse().unwrap_or(0)).try_for_each(|n| fill(&format!("{path}{n}"), 0)),
        "leave what is hard to clear" => leave(path),
        "look for what is left" => fs::read_dir(path).and_then(|mut entries| match entries.next() {
            None => Ok(()),
            Some(_) => Err(io::Error::from_raw_os_error(libc::ENOTEMPTY)),
        }),
        _ => return None,
    };
    Some(match done {
        Ok(()) => Attempted::Succeeded,
        Err(error) => Attempted::Refused(error),
    })
}

/// Writes this number of bytes to a file, and keeps it open.
fn fill(path: &str, bytes: usize) -> io::Result<()> {
    let mut file = ManuallyDrop::new(fs::File::create(path)?);
    file.write_all(&vec![b'x'; bytes])
}

/// Creates files of all kinds that are hard to remove: files without permissions, one of which stays open, nested
/// folders, links.
fn leave(folder: &str) -> io::Result<()> {
    let at = |name: &str| format!("{folder}/{name}");
    let mut closed = fs::OpenOptions::new();
    closed.write(true).create_new(true).mode(0o000);
    let mut file = ManuallyDrop::new(closed.open(at("closed"))?);
    file.write_all(b"text")?;
    fs::hard_link(at("closed"), at("linked"))?;
    // The standard library's functions make other system calls, which are forbidden.
    symlinkat("/etc", CWD, at("absolute"))?;
    symlinkat("..", CWD, at("up"))?;
    let mut deep = folder.to_owned();
    for _ in 0..40 {
        deep += "/d";
        mkdirat(CWD, &deep, Mode::from_raw_mode(0o777))?;
    }
    fs::hard_link(at("closed"), deep + "/linked")
}
