//! Destinations of `--results` and `--results-dir`, and what happens to results that exist already.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::completed::{CompletedRun, LIMIT, fixture, to_the_end};
use crate::support::{BackgroundRun, binary, mpwasm, records, until};

/// A task that prints `task`.
const TASK: &str = r#"["task\n",""]"#;

/// Options for results that exist already.
const EACH_WAY: [&[&str]; 4] = [&[], &["--overwrite"], &["--resume"], &["--retry-failed"]];

fn command(option: &str, path: &Path, more: &[&str]) -> Command {
    let mut command = mpwasm();
    command.args(["run", &format!("{}#print", fixture()), "--args", TASK]);
    command.arg(option).arg(path).args(more);
    command
}

fn run_to(option: &str, path: &Path, more: &[&str]) -> CompletedRun {
    to_the_end(&mut command(option, path, more))
}

/// Asserts that nothing has run, for this reason.
#[track_caller]
fn assert_refused(ended: &CompletedRun, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_not_empty_is_lost_only_when_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = || fs::read_to_string(&path).unwrap();
    File::create(&path).unwrap();
    assert_eq!(run_to("--results", &path, &[]).code, Some(0), "it was empty");
    let first = log();
    assert_eq!(first.lines().count(), 1);
    let refused = run_to("--results", &path, &[]);
    assert_refused(
        &refused,
        &["not empty", "--resume", "--retry-failed", "--overwrite"],
    );
    assert_eq!(log(), first);
    let dry = run_to("--results", &path, &["--dry-run"]);
    assert_eq!((dry.code, log()), (Some(0), first.clone()), "{dry:#?}");
    for how in ["--resume", "--retry-failed"] {
        let ended = run_to("--results", &path, &[how]);
        assert_eq!((ended.code, log()), (Some(0), first.clone()), "{ended:#?}");
    }
    fs::write(&path, "no record\n".repeat(1000)).unwrap();
    let ended = run_to("--results", &path, &["--overwrite"]);
    assert_eq!((ended.code, log().lines().count()), (Some(0), 1), "{ended:#?}");
    let wrong = to_the_end(mpwasm().args(["run", fixture(), "--args", "[]", "--overwrite"]));
    assert_refused(&wrong, &["--results"]);
}

#[test]
fn a_folder_of_results_is_lost_only_when_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (path, log) = (dir.path().join("folders"), dir.path().join("log"));
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("notes"), "of the user").unwrap();
    assert_eq!(run_to("--results-dir", &path, &[]).code, Some(0));
    fs::write(path.join("0/stdout"), "old").unwrap();
    let refused = run_to("--results-dir", &path, &[]);
    assert_refused(&refused, &["results of an earlier run", "--overwrite"]);
    assert_eq!(read("0/stdout"), "old");
    // A resumed run appends to it.
    let both = ["--results", log.to_str().unwrap(), "--resume", "--args", TASK];
    assert_eq!(run_to("--results-dir", &path, &both).code, Some(0));
    assert_eq!(
        (read("0/stdout").as_str(), read("1/stdout").as_str()),
        ("task\n", "task\n")
    );
    // A run that overwrites it leaves nothing of the earlier run.
    assert_eq!(run_to("--results-dir", &path, &["--overwrite"]).code, Some(0));
    assert_eq!(read("0/stdout"), "task\n");
    assert!(!path.join("1").exists());
    assert_eq!(read("notes"), "of the user");
}

#[test]
fn a_link_and_an_odd_file_are_no_place_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("victim"), "").unwrap();
    symlink("victim", path("link")).unwrap();
    symlink("not there", path("dangling")).unwrap();
    symlink("/dev/null", path("to null")).unwrap();
    let cases: [(PathBuf, &str); 5] = [
        (path("link"), "symbolic link"),
        (path("dangling"), "symbolic link"),
        (path("to null"), "symbolic link"),
        ("/dev/zero".into(), "device"),
        (path(""), "folder"),
    ];
    for how in EACH_WAY {
        for (path, why) in &cases {
            let ended = run_to("--results", path, how);
            assert_refused(&ended, &[why, path.to_str().unwrap()]);
        }
    }
    assert!(!path("not there").exists());
    assert_eq!(fs::read_to_string(path("victim")).unwrap(), "");
}

/// Only root can change a file's owner. For an ordinary user the test uses a file of root's.
#[test]
fn another_users_file_is_no_place_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let (file, fifo) = (dir.path().join("log"), dir.path().join("fifo"));
    let places = match nix::unistd::geteuid().is_root() {
        false => vec![PathBuf::from("/etc/passwd")],
        true => {
            File::create(&file).unwrap();
            mkfifo(&fifo, Mode::S_IRWXU).unwrap();
            for path in [&file, &fifo] {
                chown(path, Some(65534), None).unwrap();
            }
            vec![file, fifo]
        }
    };
    for how in EACH_WAY {
        for path in &places {
            assert_refused(&run_to("--results", path, how), &["another user"]);
        }
    }
}

#[test]
fn records_flow_into_what_is_open_already_into_fifos_and_into_devices() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for place in ["/dev/null", "/dev/stderr"] {
        let ended = run_to("--results", Path::new(place), &[]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), "task\n"),
            "{place}: {ended:#?}"
        );
        assert_eq!(ended.stderr.contains("\"status\":\"ok\""), place == "/dev/stderr");
    }
    fn is_record(line: &str) -> bool {
        line.starts_with('{') && line.ends_with('}')
    }
    let stdout = run_to("--results", Path::new("/dev/stdout"), &["--overwrite"]).stdout;
    assert!(stdout.lines().any(is_record), "{stdout}");

    mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
    let fifo = path("fifo");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        File::open(fifo).unwrap().read_to_string(&mut all).unwrap();
        all
    });
    assert_eq!(run_to("--results", &path("fifo"), &[]).code, Some(0));
    assert!(is_record(reader.join().unwrap().trim_end()));

    // A shell's `>(COMMAND)` is /dev/fd/63. A file that was opened for appending is not truncated.
    fs::write(path("log"), "before\n").unwrap();
    for script in [
        r#""$0" run "$1" --args "$2" --results /dev/fd/3 3>> "$3""#,
        r#""$0" run "$1" --args "$2" --results >(cat >> "$3"; echo) "#,
    ] {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).arg(binary());
        shell
            .args([&format!("{}#print", fixture()), TASK])
            .arg(path("log"));
        shell.env("XDG_CACHE_HOME", "/dev/null/no-cache");
        let ended = to_the_end(&mut shell);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
    let log = fs::read_to_string(path("log")).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "before"), "{log}");
    assert!(lines[1..].iter().copied().all(is_record), "{log}");
}

/// Another process that appends to the same file loses nothing.
#[test]
fn records_go_to_the_end_of_the_file_wherever_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for how in ["--resume", "--overwrite"] {
        fs::write(&path, "").unwrap();
        let guest = format!("{}#echo", fixture());
        let mut run = BackgroundRun::start(&[&guest, how, "--tasks=-", "--results", path.to_str().unwrap()]);
        let mut tasks = run.child.stdin.take().unwrap();
        let all = || fs::read(&path).unwrap();
        tasks.write_all(b"[1]\n").unwrap();
        until(|| all().ends_with(b"\n").then_some(()));
        let mut other = OpenOptions::new().append(true).open(&path).unwrap();
        other.write_all(b"{\"other\":1}\n").unwrap();
        tasks.write_all(b"[2]\n").unwrap();
        drop(tasks);
        assert_eq!(run.wait(LIMIT).code(), Some(0));
        let lines = records(&all());
        assert_eq!(
            (lines.len(), &lines[1]["other"]),
            (3, &1.into()),
            "{how}: {lines:?}"
        );
    }
}
