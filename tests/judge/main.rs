//! The judge in `guests/judge` from the outside: the real binary judges the programs of its corpus.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use mpwasm_test_support::peak_resident;

/// The verdicts of each submission in the four tests, and its final one without the words in parentheses.
const CORPUS: [(&str, [&str; 4], &str); 12] = [
    ("blanks", ["ok", "ok", "ok", "ok"], "accepted"),
    ("broken", ["ok", "ok", "error", "ok"], "test 3: runtime error"),
    (
        "cheats",
        ["wrong", "wrong", "wrong", "wrong"],
        "test 1: wrong answer",
    ),
    ("endless", ["time", "time", "time", "time"], "test 1: time limit"),
    (
        "gives-up",
        ["error", "error", "error", "error"],
        "test 1: runtime error",
    ),
    ("greedy", ["ok", "ok", "ok", "memory"], "test 4: memory limit"),
    ("halves", ["ok", "ok", "ok", "ok"], "accepted"),
    ("orders", ["ok", "wrong", "ok", "wrong"], "test 2: wrong answer"),
    ("sleeper", ["ok", "ok", "ok", "time"], "test 4: time limit"),
    ("slow", ["ok", "ok", "ok", "time"], "test 4: time limit"),
    ("table", ["ok", "ok", "ok", "ok"], "accepted"),
    ("talks", ["ok", "ok", "ok", "output"], "test 4: output limit"),
];

/// Returns the folder of files that were prepared for another user, see `.ci/run`, or their place in the sources.
fn handed_over(name: &str) -> Option<PathBuf> {
    std::env::var_os("MPWASM_TEST_JUDGE").map(|folder| Path::new(&folder).join(name))
}

/// Longest time of the judge with these submissions. A longer run hangs.
const LIMIT: Duration = Duration::from_secs(300);

fn judge(args: &[&OsStr]) -> Output {
    watched(args, |_| ())
}

/// Runs the judge to its end, and lets `look` inspect the process now and then.
fn watched(args: &[&OsStr], mut look: impl FnMut(u32)) -> Output {
    let judge = handed_over("judge").unwrap_or_else(|| env!("CARGO_BIN_EXE_judge").into());
    let mut judge = Command::new(judge);
    let streams = judge
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = streams.args(args).spawn().unwrap();
    let (pid, hang) = (child.id(), Instant::now() + LIMIT);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    loop {
        if let Ok(output) = end.recv_timeout(Duration::from_millis(10)) {
            return output;
        }
        assert!(Instant::now() < hang, "it took longer than {LIMIT:?}");
        look(pid);
    }
}

fn problem() -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/problems");
    handed_over("problems")
        .unwrap_or_else(|| here.into())
        .join("change")
}

/// Returns the file of a submission. All are built once.
fn submission(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        handed_over("submissions").unwrap_or_else(|| {
            let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/submissions");
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/submissions/Cargo.toml");
            let built = Command::new(env!("CARGO"))
                .args(["build", "--release", "--target", "wasm32-wasip1"])
                .args(["--target-dir", target, "--manifest-path", manifest])
                .env_remove("RUSTFLAGS") // they are meant for native code
                .status()
                .unwrap();
            assert!(built.success());
            Path::new(target).join("wasm32-wasip1/release")
        })
    });
    folder.join(format!("change-{name}.wasm"))
}

/// Returns the table that the judge prints about these submissions: a row of cells for each, without the header.
fn rows(submissions: &[PathBuf], options: &[&str]) -> Vec<Vec<String>> {
    let problem = problem();
    let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    args.push(problem.as_os_str());
    args.extend(submissions.iter().map(|path| path.as_os_str()));
    let output = judge(&args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    text.lines().skip(1).map(cells).collect()
}

#[test]
fn each_submission_of_the_corpus_gets_the_verdict_that_it_deserves() {
    let submissions: Vec<_> = CORPUS.iter().map(|(name, ..)| submission(name)).collect();
    let rows = rows(&submissions, &[]);
    assert_eq!(rows.len(), CORPUS.len());
    for (row, (name, tests, verdict)) in rows.iter().zip(CORPUS) {
        assert_eq!(row[0], format!("change-{name}"));
        let words = row[1..5].iter().map(|cell| cell.split(',').next().unwrap());
        assert!(words.eq(tests), "{row:?}");
        assert_eq!(row[5].split(" (").next(), Some(verdict), "{row:?}");
        // Time and memory of each test are known, unless a worker had to be killed on a busy machine.
        let measured = |cell: &String| cell.ends_with("MiB") && cell.contains("s, ") || cell == "time, ?, ?";
        assert!(row[1..5].iter().all(measured), "{row:?}");
    }
}

#[test]
fn what_is_no_submission_is_rejected_and_the_others_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(submission("table")).unwrap();
    let submissions = [
        file(
            "text.wasm",
            b"(module (memory (export \"memory\") 1) (func (export \"_start\")))",
        ),
        file("cut.wasm", &whole[..whole.len() / 2]),
        file("nothing.wasm", b"\0asm\x01\0\0\0"),
        file("\u{1b}[2J.wasm", b""),
        submission("table"),
    ];
    let rows = rows(&submissions, &[]);
    assert_eq!(rows.len(), 5);
    let expected = [
        ("text", "rejected (it is no compiled WebAssembly)"),
        ("cut", "rejected ("),
        ("nothing", "rejected ("),
        ("\\u{1b}[2J", "rejected (it is no compiled WebAssembly)"),
        ("change-table", "accepted"),
    ];
    for (row, (name, verdict)) in rows.iter().zip(expected) {
        assert_eq!(row[0], name);
        assert!(row.last().unwrap().starts_with(verdict), "{row:?}");
    }
}

#[test]
fn the_limits_are_the_options() {
    let verdict = |name: &str, options: &[&str]| rows(&[submission(name)], options)[0].pop().unwrap();
    assert_eq!(verdict("table", &["--size", "1"]), "accepted");
    assert_eq!(
        verdict("table", &["--fuel", "1000"]),
        "test 1: time limit (instructions)"
    );
    // It sleeps in test 4. On a machine so busy that an earlier test takes a second, it fails that one.
    let sleeper = verdict("sleeper", &["--timeout", "1s"]);
    assert!(sleeper.ends_with(": time limit (clock)"), "{sleeper}");
    let sleeper = verdict("sleeper", &["--timeout", "1s", "--interrupt", "kill"]);
    assert!(sleeper.ends_with(": time limit (clock)"), "{sleeper}");
    let rejected = verdict("table", &["--memory", "1MiB"]);
    assert!(
        rejected.starts_with("rejected (") && rejected.contains("memory"),
        "{rejected}"
    );
}

/// One test takes long. Meanwhile others end, with results of the maximum size.
#[test]
fn results_do_not_wait_in_memory_for_a_slow_test() {
    const TESTS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    for ending in ["in", "out"] {
        let copy = |from: usize, to: usize| {
            let file = |number: usize| format!("{number}.{ending}");
            fs::copy(problem().join(file(from)), folder.path().join(file(to))).unwrap();
        };
        copy(4, 1); // the sleeper sleeps in the fourth
        (2..=TESTS).for_each(|number| copy(1, number));
    }
    let (sleeper, blanks) = (submission("sleeper"), submission("blanks"));
    let mut args: Vec<&OsStr> = ["--size", "2", "--timeout", "5s"].map(OsStr::new).to_vec();
    args.push(folder.path().as_os_str());
    args.extend([&sleeper, &blanks, &blanks].map(|path| path.as_os_str()));
    let mut most = 0;
    let output = watched(&args, |pid| most = most.max(peak_resident(pid).unwrap_or(0)));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.matches("ok, ").count(), 3 * TESTS - 1, "{table}");
    // One mebibyte each.
    assert!(most > 0 && most < 80 << 20, "{most} bytes");
}

#[test]
fn what_the_judge_can_not_read_is_reported_by_name() {
    let table = submission("table");
    for (args, code, words) in [
        (
            vec![OsStr::new("/nowhere"), table.as_os_str()],
            1,
            "/nowhere: No such file",
        ),
        (
            vec![problem().as_os_str(), OsStr::new("none.wasm")],
            1,
            "none.wasm: No such file",
        ),
        (vec![problem().as_os_str()], 2, "SUBMISSION.wasm"),
    ] {
        let output = judge(&args);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(words), "{stderr}");
    }
}
