//! A working directory that was removed, and a machine without `/proc`.

use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::{run, stderr, trapping_command};
use crate::support::fixture;

/// Also what is refused elsewhere is refused there: a grant of a folder in which the records are.
#[test]
fn a_working_directory_that_was_deleted_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let gone = folder.path().join("gone");
    let granted = folder.path().join("granted");
    std::fs::create_dir(&granted).unwrap();
    let results = granted.join("results");
    for (args, code, stdout) in [
        (&["run", guest.to_str().unwrap()][..], 0, ""),
        (&["exec", guest.to_str().unwrap()], 0, "hello\n"),
        (
            &[
                "run",
                "--dir",
                granted.to_str().unwrap(),
                "--results",
                results.to_str().unwrap(),
                guest.to_str().unwrap(),
            ],
            2,
            "",
        ),
    ] {
        std::fs::create_dir(&gone).unwrap();
        let name = std::ffi::CString::new(gone.to_str().unwrap()).unwrap();
        let leave = move || {
            // SAFETY: both calls read a path that ends with a zero byte.
            Errno::result(unsafe { libc::chdir(name.as_ptr()) })?;
            // SAFETY: as above.
            Errno::result(unsafe { libc::rmdir(name.as_ptr()) })?;
            Ok(())
        };
        let output = run(leave, args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert_eq!(output.stdout, stdout.as_bytes(), "{args:?}: {text}");
        let is_named = text.contains("contains the file of --results");
        assert_eq!(is_named, code == 2, "{args:?}: {text}");
        assert!(!gone.exists(), "it was deleted before mpwasm started");
    }
    assert!(!results.exists(), "nothing ran");
}

/// Hides `/proc` from this process and its children, in a mount namespace of their own.
fn without_proc() -> io::Result<()> {
    let user = match geteuid().is_root() {
        true => CloneFlags::empty(),
        false => CloneFlags::CLONE_NEWUSER,
    };
    unshare(user | CloneFlags::CLONE_NEWNS)?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change(c"/", private)?;
    Ok(mount(c"none", c"/proc", c"tmpfs", MountFlags::empty(), None)?)
}

/// For an ordinary user this test needs a machine with user namespaces, like scratch directories.
#[test]
fn a_machine_without_proc_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    for (args, code) in [
        (&["run", "--args", "[]", &fixture("noop")][..], 3),
        (&["exec", guest.to_str().unwrap()][..], 125),
    ] {
        let output = run(without_proc, args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains("there is no /proc"), "{args:?}: {text}");
    }
}
