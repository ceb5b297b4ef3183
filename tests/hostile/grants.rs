//! Guests that misuse a granted directory, and directories that contain traps, in one pool with tasks that only read a
//! file there. `tests/run/grants.rs` tests what is refused; the tests here check how long it takes, and that other tasks
//! are not affected.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::corpus::{Record, SOON, run_with};
use crate::session::{task_file, within};
use crate::support;

/// Longest time from the deadline of a task to its end.
const GRACE: Duration = Duration::from_millis(200);

/// Longest time of a task that ends by itself.
const BRIEF: Duration = Duration::from_secs(2);

/// Returns whether a task takes bad steps. There are three good tasks before each of these, and after the last.
fn is_bad(record: &Value) -> bool {
    record["id"].as_u64().unwrap() % 4 == 3
}

/// Takes bad steps among good tasks, with this number of workers, in a directory that `prepare` has filled. Returns all
/// records, in the order of their tasks.
#[track_caller]
fn records(
    size: &str,
    rest: &str,
    prepare: impl FnOnce(&Path),
    bad: &Value,
    timeout: Duration,
) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "text").unwrap();
    prepare(folder.path());
    let good = json!([["open", "/data", "file", "read"], ["read", "@0"]]);
    let lines = (0..11).map(|id| match is_bad(&json!({ "id": id })) {
        true => json!({"args": bad, "timeout": timeout.as_secs_f64()}).to_string(),
        false => json!({ "args": good }).to_string(),
    });
    let tasks = tempfile::tempdir().unwrap();
    let tasks = task_file(tasks.path(), lines);
    let grant = format!("{}::/data{rest}", folder.path().display());
    let options = ["--dir", &grant, "--tasks", tasks.to_str().unwrap()];
    let (ended, records) = run_with(size, support::guest("files"), &options);
    assert_eq!(records.len(), 11, "{}", ended.stderr);
    let records: Vec<_> = records.iter().map(Record::value).collect();
    for record in records.iter().filter(|record| !is_bad(record)) {
        assert_eq!(record["result"], json!(["ok", "text"]), "a neighbour: {record}");
    }
    records
}

/// As [`records`], with two workers. Returns the records of the bad tasks.
#[track_caller]
fn judge(rest: &str, prepare: impl FnOnce(&Path), bad: &Value, timeout: Duration) -> Vec<Value> {
    let mut records = records("2", rest, prepare, bad, timeout);
    records.retain(is_bad);
    records
}

/// Asserts that all bad tasks end by themselves, soon, and in this way.
#[track_caller]
fn comes_to(records: &[Value], expected: &Value) {
    for record in records {
        assert_eq!(record["result"], *expected, "{record}");
        let took = Duration::from_micros(record["run_us"].as_u64().unwrap());
        assert!(took < within(BRIEF), "{record}");
    }
}

/// Asserts that all bad tasks end at their deadline.
#[track_caller]
fn times_out(records: &[Value]) {
    times_out_after(SOON, records);
}

/// As [`times_out`], for tasks with this timeout.
#[track_caller]
fn times_out_after(timeout: Duration, records: &[Value]) {
    for record in records {
        assert_eq!(record["status"], "timeout", "{record}");
        let took = Duration::from_micros(record["run_us"].as_u64().unwrap());
        assert!(took >= timeout && took < within(timeout + GRACE), "{record}");
    }
}

/// The timeout of bad tasks that must end by themselves, even on a busy machine.
const LATE: Duration = Duration::from_secs(20);

fn fifo(folder: &Path) {
    nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
}

/// Asserts that all bad tasks are killed: the guest is blocked in the kernel, where nothing wakes it. Each of these tasks
/// costs the only worker, and those behind it continue in the next one.
#[track_caller]
fn times_out_with_its_worker(rest: &str, bad: &Value) {
    let records = records("1", rest, fifo, bad, SOON);
    for (id, record) in records.iter().enumerate().filter(|(_, record)| is_bad(record)) {
        times_out(std::slice::from_ref(record));
        for later in &records[id + 1..] {
            assert_ne!(record["pid"], later["pid"], "{record}, {later}");
        }
    }
}

#[test]
fn a_fifo_that_nobody_writes_to() {
    for rest in ["", ":ro"] {
        times_out_with_its_worker(rest, &json!([["open", "/data", "fifo", "read"]]));
    }
}

#[test]
fn a_fifo_that_nobody_reads() {
    times_out_with_its_worker("", &json!([["open", "/data", "fifo", "write"]]));
}

#[test]
fn a_fifo_at_both_ends_of_which_the_guest_waits() {
    let steps = json!([["open", "/data", "fifo", "read write"], ["read", "@0"]]);
    let ends = judge("", fifo, &steps, LATE);
    // The file has no position to read at.
    comes_to(&ends, &json!(["ok", "SPIPE"]));
}

#[test]
fn a_socket() {
    let socket = |folder: &Path| drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
    let ends = judge(
        "",
        socket,
        &json!([["open", "/data", "socket", "read write"]]),
        LATE,
    );
    comes_to(&ends, &json!(["IO"]));
}

#[test]
fn loops_of_links() {
    let links = |folder: &Path| {
        symlink("self", folder.join("self")).unwrap();
        symlink("two", folder.join("one")).unwrap();
        symlink("one", folder.join("two")).unwrap();
        symlink(".", folder.join("here")).unwrap();
        for number in 0..100 {
            symlink(format!("{}", number + 1), folder.join(number.to_string())).unwrap();
        }
    };
    let steps = json!([
        ["open", "/data", "self", "read follow"],
        ["open", "/data", "one", "read follow"],
        ["stat", "/data", "two"],
        ["open", "/data", "0", "read follow"],
        ["stat", "/data", "here/".repeat(30) + "file"],
        ["stat", "/data", "here/".repeat(100) + "file"],
    ]);
    let ends = judge("", links, &steps, LATE);
    comes_to(&ends, &json!(["LOOP", "LOOP", "LOOP", "LOOP", "4", "LOOP"]));
}

#[test]
fn a_tree_deeper_than_a_path_can_be() {
    // Each task makes its own tree, as deep as its descriptors permit and with the longest names.
    let name = "n".repeat(255);
    let steps = json!([
        ["mkdir", "/data", "top"],
        ["deep", "/data", name, "900"],
        ["stat", "/data", format!("{name}/").repeat(100)],
        ["stat", "/data", format!("{}file", "./".repeat(2000))],
    ]);
    for record in judge("", |_| (), &steps, LATE) {
        let result = &record["result"];
        assert!(["ok", "EXIST"].contains(&result[0].as_str().unwrap()), "{record}");
        // The tasks share the directory: only the first to create the entry succeeds.
        assert!(["ok", "EXIST"].contains(&result[1].as_str().unwrap()), "{record}");
        assert_eq!(
            (&result[2], &result[3]),
            (&json!("NAMETOOLONG"), &json!("4")),
            "{record}"
        );
    }
}

#[test]
fn files_opened_without_end() {
    let steps = json!([
        ["flood", "/data", "file"],
        ["open", "/data", "file", "read"],
        ["list", "/data"]
    ]);
    for rest in ["", ":ro"] {
        comes_to(&judge(rest, |_| (), &steps, LATE), &json!(["IO", "IO", "IO"]));
    }
}

#[test]
fn names_that_are_none() {
    let steps = json!([
        ["open", "/data", "", "read"],
        ["open", "/data", "fi\u{0}le", "read"],
        ["open", "/data", "x".repeat(300), "read"],
        ["open", "/data", "x/".repeat(5000), "read"],
        ["mkdir", "/data", "\u{1b}[2J\n"],
        ["rename", "/data", ".", "/data", "x"],
        ["rename", "/data", "file/", "/data", "x"],
        ["unlink", "/data", "file/"],
        ["rmdir", "/data", "."],
        ["rmdir", "/data", ".."],
        ["open", "/data", "file/", "read create"],
        ["open", "/data", "file/.", "read"],
    ]);
    for record in judge(":ro", |_| (), &steps, LATE) {
        let results = record["result"].as_array().unwrap();
        let odd = results.iter().filter(|result| *result == "ok").count();
        assert_eq!((results.len(), odd), (12, 0), "{record}");
    }
    let grown = judge(
        "",
        |_| (),
        &json!([["unlink", "/data", "file/"], ["rmdir", "/data", "."]]),
        LATE,
    );
    for record in grown {
        assert!(
            !record["result"].as_array().unwrap().contains(&json!("ok")),
            "{record}"
        );
    }
}

#[test]
fn names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let prepare = |folder: &Path| {
        fs::write(folder.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
        fs::write(folder.join("\u{1b}[2J"), "").unwrap();
    };
    let ends = judge(
        ":ro",
        prepare,
        &json!([["list", "/data"], ["stat", "/data", "file"]]),
        LATE,
    );
    for record in ends {
        assert_eq!(record["result"][1], "4", "{record}");
    }
}

fn large(folder: &Path) {
    let file = fs::File::create(folder.join("large")).unwrap();
    file.set_len(1 << 30).unwrap();
}

#[test]
fn large_reads_for_ever() {
    let steps = json!([["open", "/data", "large", "read"], ["devour", "@0", "100000000"]]);
    times_out(&judge(":ro", large, &steps, SOON));
}

/// A single host call that reads more than wasmtime-wasi permits (128 MiB) is made in pieces, and can be ended between
/// two. The timeout is long enough for a first such call: one that is refused ends the task.
#[test]
fn larger_reads_for_ever() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let steps = json!([["open", "/data", "large", "read"], ["devour", "@0", "200000000"]]);
    times_out_after(TIMEOUT, &judge(":ro", large, &steps, TIMEOUT));
}

#[test]
fn a_directory_of_very_many_files() {
    // Each listing reads the metadata of every file.
    let many = |folder: &Path| {
        for number in 0..20_000 {
            fs::write(folder.join(format!("file {number}")), "").unwrap();
        }
    };
    let list = vec![json!(["list", "/data"]); 1000];
    times_out(&judge(":ro", many, &Value::Array(list), SOON));
}

#[test]
fn a_file_of_any_size() {
    let sparse = |folder: &Path| {
        let file = fs::File::create(folder.join("large")).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    let steps = json!([
        ["open", "/data", "large", "read"],
        ["read", "@0"],
        ["stat", "/data", "large"]
    ]);
    for record in judge(":ro", sparse, &steps, LATE) {
        assert_eq!(record["result"][2], (1_u64 << 40).to_string(), "{record:.300}");
    }
    let size = json!([
        ["open", "/data", "new", "write create"],
        ["size", "@0", "18446744073709551615"],
        ["unlink", "/data", "new"]
    ]);
    for record in judge("", |_| (), &size, LATE) {
        assert!(record["result"][1] != "ok", "{record}");
    }
}
