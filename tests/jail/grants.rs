//! What a compromised worker can do with granted directories: what the grant permits, and nothing elsewhere, even without
//! WebAssembly and its checks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use mpwasm::{Access, DirGrant, Kind};

use crate::attacker::{Attacked, in_time};

/// A folder with a secret. It contains a read-only and a read-write granted directory.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("secret"), "secret").unwrap();
        for name in ["granted", "writable"] {
            fs::create_dir_all(folder.path(name).join("folder")).unwrap();
            let file = folder.path(name).join("file");
            fs::write(&file, "text").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            symlink("../secret", folder.path(name).join("out")).unwrap();
            symlink("/proc/self/status", folder.path(name).join("process")).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts an attacker with both grants. Its attacks name absolute paths.
    fn attacked(&self, name: &str) -> Attacked {
        let dir = |name: &str, access| DirGrant::new(self.path(name), name, access).unwrap();
        let dirs = [
            dir("granted", Access::ReadOnly),
            dir("writable", Access::ReadWrite),
        ];
        Attacked::with_dirs(name, 1, dirs)
    }

    /// Starts an attacker with the read-only grant alone.
    fn reader(&self, name: &str) -> Attacked {
        let dir = DirGrant::new(self.path("granted"), "granted", Access::ReadOnly).unwrap();
        Attacked::with_dirs(name, 1, [dir])
    }

    /// Returns names in this folder as the target of an attack.
    fn target(&self, names: &str) -> String {
        let paths = names
            .split('\t')
            .map(|name| self.path(name).display().to_string());
        paths.collect::<Vec<_>>().join("\t")
    }

    /// Returns everything in the folder, with contents.
    fn state(&self) -> Vec<(PathBuf, u32, Option<Vec<u8>>)> {
        let (mut state, mut folders) = (Vec::new(), vec![self.0.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                let text = metadata.is_file().then(|| fs::read(&path).unwrap());
                state.push((path, metadata.permissions().mode(), text));
            }
        }
        state.sort();
        state
    }
}

/// Asserts that the attack is refused with one of these errors, in a fresh process, and that nothing has changed.
#[track_caller]
fn refused(folder: &Folder, attacked: Attacked, attack: &str, names: &str, errors: &[&str]) {
    let before = folder.state();
    let outcome = attacked.outcome(attack, &folder.target(names));
    let result = outcome.result.expect("it was not killed").get().to_owned();
    assert!(
        errors.contains(&result.trim_matches('"')),
        "{attack} {names}: {result}"
    );
    assert_eq!(folder.state(), before, "{attack} {names}");
    attacked.assert_in_order();
}

/// Asserts that the kernel kills the attacker for this system call, and that nothing has changed.
#[track_caller]
fn forbidden(folder: &Folder, attacked: Attacked, attack: &str, names: &str, call: &str) {
    let before = folder.state();
    let outcome = in_time(&attacked.attack(attack, &folder.target(names)));
    let error = outcome.result.expect_err("the kernel did it");
    assert_eq!(
        (error.kind, error.signal),
        (Kind::Crash, Some(libc::SIGSYS)),
        "{error:?}"
    );
    let expected = format!("it made the system call {call}, which its jail forbids");
    assert!(error.message.contains(&expected), "{}", error.message);
    assert_eq!(folder.state(), before, "{attack} {names}");
    attacked.assert_in_order();
}

const EACCES: &[&str] = &["EACCES"];
/// Landlock's errors for a file that is moved between directories with different rights.
const ELSEWHERE: &[&str] = &["EACCES", "EXDEV"];

/// Defines two tests for each attack on a read-only directory: behind all layers, and behind Landlock alone while another
/// directory is writable.
macro_rules! read_only {
    ($(fn $all:ident(), fn $landlock:ident(): $attack:literal, $names:literal, $call:literal;)+) => {$(
        #[test]
        fn $all() {
            let folder = Folder::new();
            forbidden(&folder, folder.reader("attacker"), $attack, $names, $call);
        }

        #[test]
        fn $landlock() {
            let folder = Folder::new();
            let attacked = folder.attacked("attacker-without-seccomp");
            refused(&folder, attacked, $attack, $names, ELSEWHERE);
        }
    )+};
}

read_only! {
    fn a_reader_does_not_truncate(), fn landlock_alone_lets_it_not_truncate(): "truncate", "granted/file", "truncate";
    fn a_reader_does_not_rename(), fn landlock_alone_lets_it_not_rename(): "rename", "granted/file\tgranted/new", "renameat";
    fn a_reader_does_not_rename_away(), fn landlock_alone_lets_it_not_rename_away(): "rename", "granted/file\twritable/new", "renameat";
    fn a_reader_does_not_rename_over(), fn landlock_alone_lets_it_not_rename_over(): "rename", "writable/file\tgranted/file", "renameat";
    fn a_reader_does_not_link(), fn landlock_alone_lets_it_not_link(): "link", "granted/file\tgranted/new", "linkat";
    fn a_reader_does_not_link_away(), fn landlock_alone_lets_it_not_link_away(): "link", "granted/file\twritable/new", "linkat";
    fn a_reader_does_not_link_into(), fn landlock_alone_lets_it_not_link_into(): "link", "writable/file\tgranted/new", "linkat";
    fn a_reader_does_not_symlink(), fn landlock_alone_lets_it_not_symlink(): "symlink", "secret\tgranted/new", "symlinkat";
    fn a_reader_does_not_unlink(), fn landlock_alone_lets_it_not_unlink(): "unlink", "granted/file", "unlinkat";
    fn a_reader_does_not_make_a_folder(), fn landlock_alone_lets_it_not_make_a_folder(): "mkdir", "granted/new", "mkdirat";
    fn a_reader_does_not_remove_a_folder(), fn landlock_alone_lets_it_not_remove_a_folder(): "rmdir", "granted/folder", "unlinkat";
    fn a_reader_does_not_make_a_fifo(), fn landlock_alone_lets_it_not_make_a_fifo(): "fifo", "granted/new", "mknodat";
    fn a_reader_does_not_execute(), fn landlock_alone_lets_it_not_execute(): "exec", "granted/file", "execve";
}

/// Seccomp can't tell a writing open from a reading one, so Landlock refuses it.
#[test]
fn a_worker_that_may_only_read_opens_no_file_to_change_it() {
    for (attack, names) in [
        ("open to write", "granted/file"),
        ("open to truncate", "granted/file"),
        ("open in another way to write", "granted/file"),
        ("create", "granted/new"),
        ("create", "granted/folder/new"),
    ] {
        let folder = Folder::new();
        refused(&folder, folder.reader("attacker"), attack, names, EACCES);
        // Nor when another directory is writable.
        refused(&folder, folder.attacked("attacker"), attack, names, EACCES);
    }
}

/// Landlock does not cover these calls; only seccomp refuses them.
#[test]
fn a_worker_changes_no_attribute_of_a_file() {
    for (attack, call) in [
        ("chmod", "fchmodat"),
        ("chown", "fchownat"),
        ("attribute", "setxattr"),
    ] {
        let folder = Folder::new();
        for names in ["granted/file", "writable/file"] {
            forbidden(&folder, folder.attacked("attacker"), attack, names, call);
        }
        forbidden(&folder, folder.reader("attacker"), attack, "granted/file", call);
    }
    let folder = Folder::new();
    forbidden(
        &folder,
        folder.attacked("attacker"),
        "mkdir that nobody can look into",
        "writable/new",
        "mkdirat",
    );
    forbidden(
        &folder,
        folder.reader("attacker"),
        "times",
        "granted/file",
        "utimensat",
    );
}

#[test]
fn a_worker_can_do_what_was_granted() {
    let folder = Folder::new();
    let attacked = folder.attacked("attacker");
    for (attack, names) in [
        ("open", "granted/file"),
        ("open a folder", "granted/folder"),
        ("create", "writable/new"),
        ("open to truncate", "writable/file"),
        ("mkdir", "writable/made"),
        ("rename", "writable/new\twritable/made/new"),
        ("link", "writable/file\twritable/made/link"),
        ("symlink", "secret\twritable/made/out"),
        ("unlink", "writable/made/new"),
        ("rmdir", "writable/folder"),
    ] {
        let outcome = attacked.outcome(attack, &folder.target(names));
        assert_eq!(outcome.result.unwrap().get(), "\"succeeded\"", "{attack} {names}");
    }
    attacked.assert_in_order();
}

#[test]
fn a_worker_makes_and_executes_no_program_where_it_may_write() {
    let folder = Folder::new();
    forbidden(
        &folder,
        folder.attacked("attacker"),
        "exec",
        "writable/file",
        "execve",
    );
    forbidden(
        &folder,
        folder.attacked("attacker"),
        "fifo",
        "writable/new",
        "mknodat",
    );
    let alone = || folder.attacked("attacker-without-seccomp");
    refused(&folder, alone(), "exec", "writable/file", EACCES);
    refused(&folder, alone(), "fifo", "writable/new", EACCES);
}

/// By `..`, links and absolute paths, whatever was granted.
#[test]
fn a_worker_does_not_leave_a_directory() {
    let folder = Folder::new();
    let attacked = folder.attacked("attacker");
    let before = folder.state();
    let here = |names: &str| folder.target(names);
    for (attack, target, errors) in [
        ("open", here("secret"), EACCES),
        ("open", here("granted/../secret"), EACCES),
        ("open", here("writable/../secret"), EACCES),
        ("open", here("granted/out"), EACCES),
        ("open", here("writable/out"), EACCES),
        ("open", here("granted/process"), EACCES),
        ("open a folder", here("granted/.."), EACCES),
        ("open", "/etc/passwd".to_owned(), EACCES),
        ("open", "/proc/self/status".to_owned(), EACCES),
        ("open", "/proc/self/environ".to_owned(), EACCES),
        ("open a folder", "/".to_owned(), EACCES),
        ("open a folder", "/proc/self/fd".to_owned(), EACCES),
        ("open to write", here("secret"), EACCES),
        ("create", here("new"), EACCES),
        ("create", here("writable/../new"), EACCES),
        ("mkdir", here("new"), EACCES),
        ("unlink", here("secret"), EACCES),
        ("rmdir", here("granted/../granted/folder"), EACCES),
        ("rename", here("writable/file\tnew"), ELSEWHERE),
        ("rename", here("secret\twritable/new"), ELSEWHERE),
        ("link", here("secret\twritable/new"), ELSEWHERE),
        ("link", here("writable/file\tnew"), ELSEWHERE),
        ("symlink", here("secret\tnew"), EACCES),
    ] {
        let outcome = attacked.outcome(attack, &target);
        let result = outcome.result.expect("it was not killed").get().to_owned();
        assert!(
            errors.contains(&result.trim_matches('"')),
            "{attack} {target}: {result}"
        );
    }
    assert_eq!(folder.state(), before);
    attacked.assert_in_order();
}

/// Its Landlock domain has the grants, since workers inherit it, but it has no other rights.
#[test]
fn a_dispatcher_has_what_its_workers_have() {
    let folder = Folder::new();
    let tried = |attack: &str, names: &str| {
        let attacked = folder.attacked("attacker-dispatcher");
        let outcome = attacked.outcome(attack, &folder.target(names));
        attacked.pool.terminate();
        attacked.pool.join().unwrap();
        outcome.result.expect("it was not killed").get().to_owned()
    };
    assert_eq!(tried("open", "granted/file"), "\"succeeded\"");
    assert_eq!(tried("create", "writable/new"), "\"succeeded\"");
    for (attack, names) in [
        ("open to write", "granted/file"),
        ("create", "granted/new"),
        ("open", "secret"),
        ("create", "new"),
        ("exec", "writable/file"),
    ] {
        assert_eq!(tried(attack, names), "\"EACCES\"", "{attack} {names}");
    }
}
