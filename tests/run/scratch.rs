//! The scratch directory of a task: `--tmp`.

use serde_json::{Value, json};

use crate::completed::{CompletedRun, run};
use crate::grants::files;

/// Runs tasks that take these steps, with a scratch directory of this size.
#[track_caller]
fn scratch(size: &str, options: &[&str], tasks: &[Value]) -> CompletedRun {
    let args: Vec<String> = tasks.iter().map(Value::to_string).collect();
    let mut all = vec![files(), "--jail", "strict", "--tmp", size];
    all.extend(options);
    all.extend(args.iter().flat_map(|args| ["--args", args]));
    let ended = run(&all);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

#[test]
fn each_task_has_one_of_its_own_that_is_empty_when_it_begins() {
    let steps = json!([
        ["granted"],
        ["list", "/tmp"],
        ["open", "/tmp", "file", "read write create excl"],
        ["write", "@0", "text"],
        ["mkdir", "/tmp", "folder"],
        ["symlink", "file", "/tmp", "link"],
        ["rename", "/tmp", "file", "/tmp", "folder/file"],
        ["list", "/tmp"],
        ["deep", "/tmp", "down", "200"],
    ]);
    let expected = json!(["/tmp", "", "ok", "ok", "ok", "ok", "ok", "folder link", "ok"]);
    for options in [
        &["--size", "1"][..],
        &["--size", "3"],
        &["--size", "2", "--isolation", "process"],
    ] {
        let ended = scratch("1MiB", options, &vec![steps.clone(); 30]);
        assert_eq!(ended.records.len(), 30);
        for record in &ended.records {
            assert_eq!(record["result"], expected, "{options:?}: {record}");
        }
    }
}

#[test]
fn it_has_its_size_and_no_more() {
    let steps = json!([
        ["open", "/tmp", "a", "write create"],
        ["fill", "@0", "65536"],
        ["fill", "@0", "1"],
        ["open", "/tmp", "b", "write create"],
        ["fill", "@1", "1"],
        ["unlink", "/tmp", "a"],
        // An open file is still there.
        ["fill", "@1", "1"],
    ]);
    let result = json!(["ok", "65536", "NOSPC", "ok", "NOSPC", "ok", "NOSPC"]);
    let ended = scratch("64KiB", &["--size", "1"], &[steps.clone(), steps]);
    for record in &ended.records {
        assert_eq!(record["result"], result);
    }
}

#[test]
fn it_has_no_more_entries_than_its_size_allows() {
    let steps = json!([["deep", "/tmp", "d", "60"], ["deep", "/tmp", "e", "1000"]]);
    let ended = scratch("64KiB", &[], &[steps]);
    assert_eq!(ended.records[0]["result"], json!(["ok", "NOSPC"]));
}

/// The removal must cope with all of this, and so must the worker.
#[test]
fn whatever_a_task_leaves_costs_no_worker_and_no_other_task() {
    let leaves = [
        json!([
            ["mkdir", "/tmp", "one"],
            ["mkdir", "/tmp", "two"],
            ["open", "/tmp", "1", "write create"],
            ["link", "/tmp", "1", "/tmp", "one/1"],
            ["link", "/tmp", "1", "/tmp", "two/1"],
        ]),
        json!([["deep", "/tmp", "d", "250"]]),
        json!([
            ["open", "/tmp", "file", "write create"],
            ["flood", "/tmp", "file"]
        ]),
        json!([
            ["mkdir", "/tmp", "x"],
            ["symlink", "..", "/tmp", "x/up"],
            ["symlink", "x", "/tmp", "to x"]
        ]),
    ];
    let listed = json!([["list", "/tmp"]]);
    let tasks: Vec<_> = leaves
        .into_iter()
        .flat_map(|leaves| [leaves, listed.clone()])
        .collect();
    let ended = scratch("1MiB", &["--size", "1"], &tasks);
    for (number, record) in ended.records.iter().enumerate() {
        assert_eq!(record["pid"], ended.records[0]["pid"], "{record}");
        if number % 2 == 1 {
            assert_eq!(record["result"], json!([""]), "{record}");
        }
    }
}

/// A reader of the other end of a FIFO sees its end when the task has ended, not only when the next one begins.
#[test]
fn what_a_task_has_open_is_closed_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = std::thread::spawn(move || std::fs::read(fifo).unwrap());
    let pool = mpwasm::Pool::builder()
        .executable(crate::support::binary())
        .size(1)
        .dir(mpwasm::DirGrant::new(folder.path(), "d", mpwasm::Access::ReadWrite).unwrap())
        .start()
        .unwrap();
    let guest = pool.load(files()).unwrap();
    let steps = json!([["open", "d", "fifo", "write"]]);
    let outcome = pool.submit(guest.task(&steps)).unwrap().wait();
    assert_eq!(outcome.result.unwrap().get(), r#"["ok"]"#);
    // The pool continues and is idle.
    assert!(reader.join().unwrap().is_empty());
    pool.stop().unwrap();
}

#[test]
fn there_is_no_way_out_of_it() {
    let steps = json!([
        ["open", "/tmp", "..", "directory"],
        ["open", "/tmp", "../etc/passwd", "read"],
        ["symlink", "../../etc", "/tmp", "etc"],
        ["open", "/tmp", "etc/passwd", "read follow"],
        ["symlink", "/etc/passwd", "/tmp", "absolute"],
    ]);
    let ended = scratch("64KiB", &[], &[steps]);
    assert_eq!(
        ended.records[0]["result"],
        json!(["PERM", "PERM", "ok", "PERM", "PERM"])
    );
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for (options, words) in [
        (&["--tmp", "0"][..], "at least one byte"),
        (&["--tmp", "much"], "much"),
        (&["--tmp", "1MiB", "--dir", ".::/tmp:ro"], "are both /tmp"),
    ] {
        let ended = run(&[&[files(), "--args", "[[]]"], options].concat());
        assert_eq!((ended.code, ended.records.len()), (Some(2), 0), "{ended:#?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
