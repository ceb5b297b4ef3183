//! Which directories can be granted, and with whose rights they are used. A directory that can't be granted is a usage
//! error, reported before anything runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::dup2_stdin;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use serde_json::json;

use crate::completed::{CompletedRun, GuestFile, run, to_the_end};
use crate::grants::{CAT, Folder, files};
use crate::support::{binary, mpwasm, records};

#[track_caller]
fn assert_refused(ended: &CompletedRun, code: i32, words: &str) {
    assert_eq!((ended.code, ended.records.len()), (Some(code), 0), "{ended:#?}");
    assert!(
        ended.stderr.contains(words),
        "{words:?} is not in {}",
        ended.stderr
    );
}

#[test]
fn what_can_not_be_granted_is_a_usage_error_before_anything_runs() {
    let (folder, cat) = (Folder::new(), GuestFile::file("cat.wat", CAT.as_bytes()));
    for (grant, words) in [
        ("/", "beneath it, with"),
        ("/proc", "it is on proc"),
        ("/proc/self::/me:ro", "it is on proc"),
        ("/sys", "it is on sysfs"),
        ("/no such directory", "No such file or directory"),
        (&folder.grant("/file"), "Not a directory"),
        (&folder.grant("/process"), "Not a directory"),
        ("", "no name"),
        ("x::", "is empty"),
    ] {
        assert_refused(&run(&[files(), "--dir", grant, "--args", "[]"]), 2, words);
        let exec = to_the_end(mpwasm().args(["exec", "--dir", grant, cat.path()]));
        assert_refused(&exec, 125, words);
    }
    let (one, two) = (folder.grant("::/x"), folder.grant("/folder::/x/"));
    let twice = run(&[files(), "--dir", &one, "--dir", &two, "--args", "[]"]);
    assert_refused(&twice, 2, "two directories are granted");
    let link = folder.0.path().join("link");
    symlink("/proc/self", &link).unwrap();
    let behind_a_link = run(&[files(), "--dir", link.to_str().unwrap(), "--args", "[]"]);
    assert_refused(&behind_a_link, 2, "it is on proc");
}

/// Like a descriptor from another process. The mounts beneath it are unknown.
#[test]
fn a_directory_on_a_mount_that_is_nobodys_is_a_usage_error() {
    let mount = || {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    let as_stdin = move || {
        let made = mount().or_else(|_| {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            Ok::<_, std::io::Error>(mount()?)
        })?;
        Ok(dup2_stdin(made)?)
    };
    let mut command = mpwasm();
    command.args(["run", files(), "--dir", "/proc/self/fd/0::/d", "--args", "[]"]);
    // SAFETY: the child has one thread, and makes system calls.
    unsafe { command.pre_exec(as_stdin) };
    let doctor = to_the_end(mpwasm().arg("doctor"));
    if doctor.stdout.contains("`--tmp` works here") {
        assert_refused(
            &to_the_end(&mut command),
            2,
            "a mount that is not one of this process's",
        );
    } else {
        // Without user namespaces such a directory can't be created, and neither can a scratch directory.
        assert!(command.spawn().is_err(), "{}", doctor.stdout);
    }
}

/// Runs a copy of the binary that any user may execute. The records go to stdout.
fn run_as(user: Option<&str>, args: &[&str]) -> CompletedRun {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    let copy = folder.path().join("mpwasm");
    // Another program makes the copy. A child of another test could inherit a descriptor that this process has open for
    // writing, and the copy could not be executed.
    let copied = Command::new("install")
        .args(["-m", "755"])
        .arg(binary())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(copy);
    command.args(["run", files(), "--no-cache", "--size", "1", "--results", "-"]);
    command.args(user.iter().flat_map(|user| ["--user", *user]));
    let mut ended = to_the_end(command.args(args));
    ended.records = records(ended.stdout.as_bytes());
    ended
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns another user, whom only root can name.
fn another_user() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("65534:65534")
}

#[test]
fn a_directory_that_the_pools_processes_can_not_enter_is_a_usage_error() {
    let folder = Folder::new();
    let ended = |user, mode| {
        set_mode(&folder.granted(), mode);
        let ended = run_as(user, &["--dir", &folder.grant(":ro"), "--args", "[]"]);
        set_mode(&folder.granted(), 0o700);
        ended
    };
    // There root has no capabilities.
    assert_refused(&ended(None, 0o600), 2, "can't be entered");
    if let Some(user) = another_user() {
        let refused = ended(Some(user), 0o700);
        assert_refused(&refused, 2, "can't be entered");
        assert!(refused.stderr.contains(&folder.grant("")), "{}", refused.stderr);
    }
}

#[test]
fn a_directory_is_used_with_the_rights_that_the_processes_have() {
    let folder = Folder::new();
    set_mode(&folder.granted().join("file"), 0o444);
    let step = r#"[["open","d","file","read"],["read","@0"],["open","d","file","write"]]"#;
    let args = ["--dir", &folder.grant("::d"), "--args", step];
    // The parents of the directory need no search permission, and the directory itself needs no other rights than these.
    set_mode(&folder.granted(), 0o711);
    for user in [None].into_iter().chain(another_user().map(Some)) {
        let ended = run_as(user, &args);
        let result = &ended.records[0]["result"];
        assert_eq!(*result, json!(["ok", "text", "ACCES"]), "{user:?}: {ended:#?}");
    }
}
