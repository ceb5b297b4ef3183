//! What a compromised worker can do with its scratch directory: open, create and remove files in it, up to its size, and
//! nothing elsewhere. The tests also check the effect of the calls that this requires elsewhere. Relative paths begin in
//! the scratch directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use mpwasm::Kind;

use crate::attacker::{Attacked, in_time};

const SIZE: u64 = 64 << 10;

/// Asserts that these attacks, made in order by one worker, end in this way, and that the pool works afterwards.
#[track_caller]
fn each(name: &str, attacks: &[(&str, &str, &str)]) {
    let attacked = Attacked::with_tmp(name, SIZE);
    for (attack, target, expected) in attacks {
        let outcome = attacked.outcome(attack, target);
        let result = outcome.result.expect("it was not killed").get().to_owned();
        assert_eq!(result.trim_matches('"'), *expected, "{attack} {target:?}");
    }
    attacked.assert_in_order();
}

#[test]
fn a_worker_has_no_more_than_its_size() {
    each(
        "attacker",
        &[
            ("fill", "a\t65536", "succeeded"),
            ("fill", "b\t1", "ENOSPC"),
            // An open file is still there.
            ("unlink", "a", "succeeded"),
            ("fill", "c\t1", "ENOSPC"),
        ],
    );
}

#[test]
fn a_worker_has_no_more_entries_than_its_size_allows() {
    each(
        "attacker",
        &[
            ("make many files", "a\t40", "succeeded"),
            ("make many files", "b\t1000", "ENOSPC"),
            ("mkdir", "c", "ENOSPC"),
        ],
    );
}

#[test]
fn a_worker_does_not_leave_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let outside = |name: &str| folder.path().join(name).display().to_string();
    let (secret, new) = (outside("secret"), outside("new"));
    for name in ["attacker", "attacker-without-seccomp"] {
        each(
            name,
            &[
                ("create", "file", "succeeded"),
                ("open", &secret, "EACCES"),
                ("open to write", &secret, "EACCES"),
                ("create", &new, "EACCES"),
                ("unlink", &secret, "EACCES"),
                ("mkdir", &new, "EACCES"),
                ("rename", &format!("file\t{new}"), "EXDEV"),
                ("rename", &format!("{secret}\tsecret"), "EXDEV"),
                ("link", &format!("file\t{new}"), "EXDEV"),
                ("link", &format!("{secret}\tsecret"), "EXDEV"),
                // It is not attached to a mount point, so it has no parent.
                ("open a folder", "..", "succeeded"),
                ("open", "../file", "succeeded"),
                ("open", "../etc/passwd", "ENOENT"),
                ("symlink", "/etc/passwd\tlink", "succeeded"),
                ("open", "link", "EACCES"),
                ("open", "/proc/self/environ", "EACCES"),
            ],
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A known limit: Landlock has no rule for these calls, which files of its own need.
#[test]
fn files_elsewhere_can_be_looked_at_and_their_times_set() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "text").unwrap();
    symlink("file", &link).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH;
    fs::File::open(&file).unwrap().set_modified(long_ago).unwrap();
    let (file, link) = (file.to_str().unwrap(), link.to_str().unwrap());
    for name in ["attacker", "attacker-without-seccomp"] {
        each(
            name,
            &[
                ("look at", file, "succeeded"),
                ("read a link", link, "succeeded"),
                ("times", file, "succeeded"),
                ("open", file, "EACCES"),
            ],
        );
        let set = fs::metadata(file).unwrap().modified().unwrap();
        assert!(set > long_ago, "{name}: {set:?}");
        fs::File::open(file).unwrap().set_modified(long_ago).unwrap();
    }
}

#[test]
fn a_worker_executes_nothing_makes_no_device_and_can_not_enlarge_it() {
    for (attack, target, call, error) in [
        ("exec", "file", "execve", "EACCES"),
        ("fifo", "fifo", "mknodat", "EACCES"),
        ("enlarge", ".", "fspick", "EPERM"),
        (
            "mkdir that nobody can look into",
            "folder",
            "mkdirat",
            "succeeded",
        ),
    ] {
        let attacked = Attacked::with_tmp("attacker", SIZE);
        let outcome = in_time(&attacked.attack(attack, target));
        let failure = outcome.result.expect_err("the kernel did it");
        assert_eq!(
            (failure.kind, failure.signal),
            (Kind::Crash, Some(libc::SIGSYS)),
            "{failure:?}"
        );
        let expected = format!("it made the system call {call}, which its jail forbids");
        assert!(failure.message.contains(&expected), "{}", failure.message);
        attacked.assert_in_order();
        each(
            "attacker-without-seccomp",
            &[("create", "file", "succeeded"), (attack, target, error)],
        );
    }
}

#[test]
fn what_is_left_can_be_cleared_by_the_next_worker() {
    let attacked = Attacked::with_tmp("attacker", SIZE);
    let did = |attack: &str| attacked.outcome(attack, ".").result;
    assert_eq!(did("leave what is hard to clear").unwrap().get(), "\"succeeded\"");
    // All files exist until the process ends, and then another one replaces it.
    assert_eq!(did("look for what is left").unwrap().get(), "\"ENOTEMPTY\"");
    assert_eq!(did("abort").unwrap_err().kind, Kind::Crash);
    assert_eq!(did("look for what is left").unwrap().get(), "\"succeeded\"");
    let all = attacked.outcome("fill", &format!("all\t{SIZE}"));
    assert_eq!(
        all.result.unwrap().get(),
        "\"succeeded\"",
        "nobody holds any of it"
    );
    attacked.assert_in_order();
}
