//! Use of directories and variables that are granted by `--dir` and `--env`. `granting.rs` tests which can be granted.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::completed::{GuestFile, run, to_the_end, within};
use crate::support::{BackgroundRun, binary, guest, mpwasm, records};

/// A command that prints its environment, each variable followed by a zero byte.
const ENVIRONMENT: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (if (call $sizes (i32.const 0) (i32.const 12)) (then unreachable))
    (if (call $get (i32.const 1024) (i32.const 65536)) (then unreachable))
    (i32.store (i32.const 8) (i32.const 65536))
    (if (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))))"#;

#[test]
fn the_environment_of_guests_is_what_was_granted_and_nothing_else() {
    let guest = GuestFile::file("env.wat", ENVIRONMENT.as_bytes());
    let printed = |options: &[&str]| {
        let ended = run(&[&[guest.path()], options].concat());
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.records[0]["result"]["stdout"].clone()
    };
    assert_eq!(printed(&[]), json!(""));
    assert_eq!(
        printed(&[
            "--env", "A=b=c", "--env", "LANG=ä", "--env", "EMPTY=", "--env", "A=last"
        ]),
        json!("A=last\0EMPTY=\0LANG=ä\0")
    );
    let exec = to_the_end(
        mpwasm()
            .args(["exec", "--env", "A=b", guest.path()])
            .env("SECRET", "x"),
    );
    assert_eq!((exec.code, exec.stdout.as_str()), (Some(0), "A=b\0"), "{exec:#?}");
}

#[test]
fn a_variable_without_a_value_is_passed_on() {
    let guest = GuestFile::file("env.wat", ENVIRONMENT.as_bytes());
    let exec = |options: &[&str]| {
        let mut command = mpwasm();
        command.arg("exec").args(options).arg(guest.path());
        command.env("PASSED", "a=b ä").env("EMPTY", "").env("SECRET", "x");
        to_the_end(command.env("BINARY", std::ffi::OsStr::from_bytes(b"\xff")))
    };
    let passed = exec(&["--env", "PASSED", "--env", "EMPTY", "--env", "OTHER=y"]);
    assert_eq!(
        (passed.code, passed.stdout.as_str()),
        (Some(0), "EMPTY=\0OTHER=y\0PASSED=a=b ä\0")
    );
    let refused = exec(&["--env", "BINARY"]);
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(125), ""),
        "{refused:#?}"
    );
    assert!(
        refused.stderr.contains("the value of BINARY is not UTF-8"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_variable_that_can_be_none_is_a_usage_error() {
    let guest = GuestFile::file("env.wat", ENVIRONMENT.as_bytes());
    let large = format!("A={}", "x".repeat(100_000));
    let other = format!("B{large}");
    for (options, words) in [
        (&["--env", "MPWASM_TEST_UNSET"][..], "MPWASM_TEST_UNSET=VALUE"),
        (&["--env", "=b"], "no name"),
        (&["--env", &large, "--env", &other], "larger than"),
    ] {
        let ended = run(&[&[guest.path()], options].concat());
        assert_eq!((ended.code, ended.records.len()), (Some(2), 0), "{ended:#?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

/// A folder with a secret. It contains the granted directory, with a file, a directory, and links to all of these.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.0.path().join("secret"), "secret").unwrap();
        let granted = folder.granted();
        fs::create_dir(&granted).unwrap();
        fs::create_dir(granted.join("folder")).unwrap();
        fs::write(granted.join("file"), "text").unwrap();
        fs::write(granted.join("folder/inner"), "inner text").unwrap();
        symlink("file", granted.join("to file")).unwrap();
        symlink("../secret", granted.join("out")).unwrap();
        symlink("..", granted.join("up")).unwrap();
        symlink("/etc/passwd", granted.join("absolute")).unwrap();
        symlink("/proc/self/environ", granted.join("process")).unwrap();
        symlink("again", granted.join("again")).unwrap();
        folder
    }

    pub fn granted(&self) -> PathBuf {
        self.0.path().join("granted")
    }

    /// Returns the value of `--dir` for it, with the rest after the name.
    pub fn grant(&self, rest: &str) -> String {
        format!("{}{rest}", self.granted().display())
    }

    /// Returns everything visible in the folder: names, kinds, sizes, modification times, and contents.
    fn state(&self) -> Vec<(PathBuf, u32, u64, i64, Vec<u8>)> {
        let mut state = Vec::new();
        let mut folders = vec![self.granted()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                let metadata = fs::symlink_metadata(&path).unwrap();
                let text = metadata.is_file().then(|| fs::read(&path).unwrap());
                if metadata.is_dir() {
                    folders.push(path.clone());
                }
                let (mode, size, changed) = (metadata.mode(), metadata.size(), metadata.mtime_nsec());
                state.push((path, mode, size, changed, text.unwrap_or_default()));
            }
        }
        state.sort();
        state
    }
}

pub fn files() -> &'static str {
    guest("files").to_str().unwrap()
}

/// Takes steps in one task, with these grants. Returns the result of each.
#[track_caller]
fn steps(grants: &[&str], steps: &Value) -> Vec<String> {
    let args = steps.to_string();
    let mut options = vec![files(), "--size", "1", "--jail", "strict", "--args", &args];
    options.extend(grants.iter().flat_map(|grant| ["--dir", *grant]));
    let ended = run(&options);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    serde_json::from_value(ended.records[0]["result"].clone()).unwrap()
}

/// Asserts that each of these steps alone has this result.
#[track_caller]
fn each(grants: &[&str], cases: &[(Value, &str)]) {
    let all = Value::Array(cases.iter().map(|(step, _)| step.clone()).collect());
    for ((step, expected), result) in cases.iter().zip(steps(grants, &all)) {
        assert_eq!(result, *expected, "{step}");
    }
}

#[test]
fn a_directory_can_be_read_and_written() {
    let folder = Folder::new();
    each(
        &[&folder.grant("::/data")],
        &[
            (json!(["granted"]), "/data"),
            (json!(["open", "/data", "folder/inner", "read"]), "ok"),
            (json!(["read", "@0"]), "inner text"),
            (json!(["open", "/data", "new", "read write create excl"]), "ok"),
            (json!(["write", "@1", "written"]), "ok"),
            (json!(["size", "@1", "5"]), "ok"),
            (json!(["mkdir", "/data", "made"]), "ok"),
            (json!(["rename", "/data", "new", "/data", "made/new"]), "ok"),
            (json!(["link", "/data", "file", "/data", "made/link"]), "ok"),
            (json!(["symlink", "new", "/data", "made/to new"]), "ok"),
            (json!(["times", "/data", "file"]), "ok"),
            (json!(["unlink", "/data", "out"]), "ok"),
            (json!(["open", "/data", "made", "directory"]), "ok"),
            (json!(["list", "@2"]), "link new to new"),
            (json!(["open", "@2", "to new", "read follow"]), "ok"),
            (json!(["read", "@3"]), "writt"),
        ],
    );
    let made = folder.granted().join("made");
    assert_eq!(fs::read_to_string(made.join("new")).unwrap(), "writt");
    assert_eq!(fs::metadata(made.join("link")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(made.join("link")).unwrap().mtime(), 1);
}

/// A command that reads a file of the first directory, as a command of any language does.
pub const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "file")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)) (then unreachable))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
    (if (call $read (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))"#;

#[test]
fn a_command_reads_a_file_of_a_directory() {
    let (folder, cat) = (Folder::new(), GuestFile::file("cat.wat", CAT.as_bytes()));
    let exec = to_the_end(mpwasm().args(["exec", "--dir", &folder.grant(":ro"), cat.path()]));
    assert_eq!((exec.code, exec.stdout.as_str()), (Some(0), "text"), "{exec:#?}");
    let without = to_the_end(mpwasm().args(["exec", cat.path()]));
    assert_eq!(without.code, Some(134), "{without:#?}");
}

#[test]
fn what_is_read_only_can_not_be_changed_in_any_way() {
    let (folder, other) = (Folder::new(), Folder::new());
    let before = folder.state();
    each(
        &[&folder.grant("::/data:ro"), &other.grant("::/other")],
        &[
            (json!(["open", "/data", "file", "read"]), "ok"),
            (json!(["read", "@0"]), "text"),
            (json!(["open", "/data", "file", "write"]), "PERM"),
            (json!(["open", "/data", "file", "read trunc"]), "PERM"),
            (json!(["open", "/data", "to file", "read trunc follow"]), "PERM"),
            (json!(["open", "/data", "new", "read create"]), "PERM"),
            (json!(["open", "/data", "new", "create excl"]), "PERM"),
            (json!(["write", "@0", "x"]), "BADF"),
            (json!(["size", "@0", "0"]), "PERM"),
            (json!(["mkdir", "/data", "new"]), "PERM"),
            (json!(["rmdir", "/data", "folder"]), "PERM"),
            (json!(["unlink", "/data", "file"]), "PERM"),
            (json!(["times", "/data", "file"]), "PERM"),
            (json!(["symlink", "x", "/data", "new"]), "PERM"),
            (json!(["rename", "/data", "file", "/data", "new"]), "PERM"),
            (json!(["link", "/data", "file", "/data", "new"]), "PERM"),
            // Nor through a writable directory.
            (json!(["rename", "/data", "file", "/other", "new"]), "PERM"),
            (json!(["link", "/data", "file", "/other", "new"]), "PERM"),
            (json!(["rename", "/other", "file", "/data", "file"]), "PERM"),
            (json!(["link", "/other", "file", "/data", "new"]), "PERM"),
            // Nor through a directory in it that was opened.
            (json!(["open", "/data", "folder", "directory"]), "ok"),
            (json!(["open", "@1", "inner", "write"]), "PERM"),
            (json!(["unlink", "@1", "inner"]), "PERM"),
            (json!(["open", "@1", "inner", "read"]), "ok"),
        ],
    );
    assert_eq!(folder.state(), before);
}

#[test]
fn there_is_no_way_out_of_a_directory() {
    for rest in ["::/data", "::/data:ro"] {
        let folder = Folder::new();
        each(
            &[&folder.grant(rest)],
            &[
                (json!(["open", "/data", "../secret", "read"]), "PERM"),
                (json!(["open", "/data", "folder/../../secret", "read"]), "PERM"),
                (json!(["open", "/data", "/etc/passwd", "read"]), "PERM"),
                (json!(["open", "/data", "//etc/passwd", "read"]), "PERM"),
                (json!(["open", "/data", "out", "read follow"]), "PERM"),
                (json!(["open", "/data", "out", "read"]), "LOOP"),
                (json!(["open", "/data", "out/", "read follow"]), "PERM"),
                (json!(["open", "/data", "up", "directory follow"]), "PERM"),
                (json!(["open", "/data", "up/", "directory"]), "PERM"),
                (json!(["open", "/data", "up/secret", "read"]), "PERM"),
                (json!(["open", "/data", "up/.", "directory"]), "PERM"),
                (json!(["open", "/data", "absolute", "read follow"]), "PERM"),
                (json!(["open", "/data", "process", "read follow"]), "PERM"),
                (json!(["stat", "/data", "../secret"]), "PERM"),
                (json!(["stat", "/data", "out"]), "PERM"),
                (json!(["stat", "/data", "up/secret"]), "PERM"),
                (json!(["unlink", "/data", "up/secret"]), "PERM"),
                (json!(["rename", "/data", "../secret", "/data", "new"]), "PERM"),
                (json!(["rename", "/data", "file", "/data", "../new"]), "PERM"),
                (json!(["link", "/data", "../secret", "/data", "new"]), "PERM"),
                (json!(["mkdir", "/data", "../new"]), "PERM"),
                (json!(["mkdir", "/data", "up/new/"]), "PERM"),
                (json!(["open", "/data", "folder", "directory"]), "ok"),
                (json!(["open", "@0", "../file", "read"]), "PERM"),
            ],
        );
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 2, "{rest}");
        assert_eq!(
            fs::read_to_string(folder.0.path().join("secret")).unwrap(),
            "secret"
        );
    }
}

#[test]
fn a_link_to_the_outside_can_be_made_and_leads_nowhere() {
    let folder = Folder::new();
    each(
        &[&folder.grant("::/data")],
        &[
            (json!(["symlink", "/etc", "/data", "etc"]), "PERM"),
            (json!(["symlink", "../secret", "/data", "new"]), "ok"),
            (json!(["open", "/data", "new", "read follow"]), "PERM"),
            (json!(["rename", "/data", "up", "/data", "folder/up"]), "ok"),
            (json!(["open", "/data", "folder/up/file", "read"]), "ok"),
            (json!(["open", "/data", "folder/up/../secret", "read"]), "PERM"),
        ],
    );
}

#[test]
fn callbacks_and_tasks_are_given_nothing() {
    let folder = Folder::new();
    let ended = run(&[
        files(),
        "--dir",
        &folder.grant("::d"),
        "--env",
        "A=b",
        "--args",
        r#"[["granted"]]"#,
    ]);
    assert_eq!(ended.records[0]["result"], json!(["d"]), "{ended:#?}");
    assert_eq!(ended.stdout, "a callback finds []\n");
    // Its `tasks` fails if it finds a directory or a variable.
    let guest = GuestFile::wat(
        r#"(import "wasi_snapshot_preview1" "fd_prestat_get" (func $dir (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "tasks") (result i32)
          (if (i32.ne (call $dir (i32.const 3) (i32.const 0)) (i32.const 8)) (then unreachable))
          (if (call $env (i32.const 0) (i32.const 4)) (then unreachable))
          (i32.load (i32.const 0)))
        (func (export "runnable") (result i32) (i32.const 0))"#,
    );
    let ended = run(&[guest.path(), "--dir", &folder.grant("::d"), "--env", "A=b"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[test]
fn a_directory_within_another_has_rights_of_its_own() {
    let outer = Folder::new();
    let inner = outer.grant("/folder");
    each(
        &[&outer.grant("::/data:ro"), &format!("{inner}::/in")],
        &[
            (json!(["open", "/data", "folder/inner", "write"]), "PERM"),
            (json!(["unlink", "/data", "folder/inner"]), "PERM"),
            (json!(["open", "/in", "inner", "write"]), "ok"),
            (json!(["open", "/in", "../file", "read"]), "PERM"),
        ],
    );
    each(
        &[&outer.grant("::/data"), &format!("{inner}::/in:ro")],
        &[
            (json!(["open", "/in", "inner", "write"]), "PERM"),
            // A task that may write to the outer directory may change the inner one.
            (json!(["unlink", "/data", "folder/inner"]), "ok"),
            (json!(["open", "/in", "inner", "read"]), "NOENT"),
        ],
    );
}

#[test]
fn who_replaces_a_directory_changes_nothing_for_those_who_have_it() {
    let folder = Folder::new();
    // Each task has a process of its own, which starts when the previous one has ended.
    let grant = folder.grant("::/data:ro");
    let options = [
        "--isolation",
        "process",
        "--size",
        "1",
        "--dir",
        &grant,
        "--tasks",
        "-",
    ];
    let mut run = BackgroundRun::start(&[&options[..], &["--results", "-", files()]].concat());
    let mut read = || {
        let step = br#"[["open","/data","file","read"],["read","@0"]]"#;
        let stdin = run.child.stdin.as_mut().unwrap();
        stdin.write_all(&[&step[..], b"\n"].concat()).unwrap();
        records(run.line().as_bytes()).remove(0)["result"].clone()
    };
    assert_eq!(read(), json!(["ok", "text"]));
    fs::rename(folder.granted(), folder.0.path().join("elsewhere")).unwrap();
    fs::create_dir(folder.granted()).unwrap();
    fs::write(folder.granted().join("file"), "another").unwrap();
    for _ in 0..3 {
        assert_eq!(read(), json!(["ok", "text"]));
    }
}

#[test]
fn a_file_is_as_large_as_the_users_own_limit_lets_it_be() {
    let folder = Folder::new();
    let step = |bytes: u64| {
        json!([
            ["open", "/data", "new", "write create"],
            ["fill", "@0", bytes.to_string()],
            ["write", "@0", "x"]
        ])
    };
    let grant = folder.grant("::/data");
    assert_eq!(steps(&[&grant], &step(3 << 20))[1], (3 << 20).to_string());
    assert_eq!(
        fs::metadata(folder.granted().join("new")).unwrap().len(),
        (3 << 20) + 1
    );
    // In blocks of 512 bytes, the unit of sh.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(binary());
    limited.args([
        "run",
        files(),
        "--no-cache",
        "--results",
        "-",
        "--dir",
        &grant,
        "--args",
    ]);
    let ended = within(Duration::from_secs(60), limited.arg(step(3 << 20).to_string()));
    let record = records(ended.stdout.as_bytes()).pop().unwrap();
    assert_eq!(
        record["result"],
        json!(["ok", (1 << 20).to_string(), "FBIG"]),
        "{ended:#?}"
    );
}
