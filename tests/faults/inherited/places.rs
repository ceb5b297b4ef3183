//! A working directory that was removed, and a machine without `/proc`.

use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::{run, stderr, trapping_command};
use crate::session::assert_accounted;
use crate::support::{fixture, records};

#[test]
fn a_working_directory_that_was_deleted_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let gone = folder.path().join("gone");
    for args in [
        &["run", "--results", "-", "--args", "[]", &fixture("noop")][..],
        &["exec", guest.to_str().unwrap()],
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
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        match args[0] {
            "run" => assert_eq!(assert_accounted(&records(&output.stdout), &["ok"])["ok"], 1),
            _ => assert_eq!(output.stdout, b"hello\n"),
        }
        assert!(!gone.exists(), "it was deleted before mpwasm started");
    }
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
