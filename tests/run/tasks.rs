//! Task lines: which lines are tasks, and what happens to invalid ones.

use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::completed::{
    CompletedRun, GuestFile, LIMIT, TasksFile, fixture, line, run, run_lines, to_the_end,
};
use crate::support::{self, BackgroundRun, assert_each_id_once, binary, mpwasm};

fn echo(lines: impl AsRef<[u8]>, args: &[&str]) -> CompletedRun {
    let guest = format!("{}#echo", fixture());
    run_lines(lines, &[&[guest.as_str(), "--size", "1"], args].concat())
}

/// Asserts that the record with this id is `invalid`, with a message that names the line and contains these words.
fn assert_invalid(ended: &CompletedRun, id: usize, line: u32, words: &str) {
    let record = &ended.records[id];
    assert_eq!(record["status"], "invalid", "{record}");
    let message = record["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("line {line} ")) && message.contains(words),
        "line {line}, {words}: {message}"
    );
    for field in ["worker", "pid", "queued_us", "run_us", "cpu_us"] {
        assert_eq!(record[field], Value::Null, "{record}");
    }
}

#[test]
fn a_task_is_an_array_of_args_or_an_object_with_its_fields() {
    let lines = concat!(
        "[1, 2]\n",
        "{\"args\":[3],\"key\":\"k\",\"timeout\":\"5s\"}\n",
        "{\"args\":[],\"model\":\"counter\",\"timeout\":2.5}\n",
        "{\"args\":[4],\"model\":\"echo\"}",
    );
    let ended = echo(lines, &[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let results: Vec<_> = ended
        .records
        .iter()
        .map(|record| record["result"].clone())
        .collect();
    assert_eq!(results, [json!([1, 2]), json!([3]), json!(1), json!([4])]);
    assert_eq!(ended.records[1]["key"], "k");
    assert_eq!(ended.column("model"), ["echo", "echo", "counter", "echo"]);
}

#[test]
fn blank_lines_are_skipped_and_carriage_returns_ignored() {
    let ended = echo("\n[1]\r\n   \n\r\n\t\n{\"args\":[2]}\r\n\n", &[]);
    let results: Vec<_> = ended
        .records
        .iter()
        .map(|record| record["result"].clone())
        .collect();
    assert_eq!(
        (results, ended.code),
        (vec![json!([1]), json!([2])], Some(0)),
        "{ended:#?}"
    );
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_and_named_elsewhere() {
    let ended = echo("\u{feff}[1]\n\n\u{feff}[2]\n[3]\n", &[]);
    assert_eq!(ended.column("status"), ["ok", "invalid", "ok"], "{ended:#?}");
    assert_invalid(&ended, 1, 3, "byte-order mark");
    let utf16: Vec<u8> = "\u{feff}[1]\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let ended = echo(utf16, &[]);
    assert_invalid(&ended, 0, 1, "UTF-16");
    let inputs = TasksFile::new("\u{feff}one\ntwo\n");
    let ended = run(&[&support::fixture("echo"), "-a", inputs.path()]);
    let results: Vec<_> = ended.records.iter().map(|record| &record["result"][0]).collect();
    assert_eq!(results, ["one", "two"]);
}

#[test]
fn what_is_no_task_is_invalid_and_its_message_names_the_line() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let lines = format!(
        "[0]\n\nnonsense\n{{\"args\":[1],\"arg\":2}}\n{{\"args\":{{}}}}\n{{\"args\":[2],\"model\":\"nowhere\",\
         \"key\":\"k\"}}\n{{\"args\":[],\"timeout\":0}}\n{{\"args\":[],\"timeout\":\"soon\"}}\n[1,\n{{}}\n{deep}\n\
         {{\"args\":[],\"stdin\":\"x\"}}\n[3]\n"
    );
    let ended = echo(lines, &[]);
    assert_eq!(ended.code, Some(1));
    assert_each_id_once(&ended.records, 12);
    assert_invalid(&ended, 1, 3, "neither");
    assert_invalid(&ended, 2, 4, "unknown field `arg`");
    assert_invalid(&ended, 3, 5, "array");
    assert_invalid(&ended, 4, 6, "no model `nowhere`");
    assert_invalid(&ended, 5, 7, "timeout");
    assert_invalid(&ended, 6, 8, "timeout");
    assert_invalid(&ended, 7, 9, "EOF");
    assert_invalid(&ended, 8, 10, "`args`");
    assert_invalid(&ended, 9, 11, "deep");
    assert_invalid(&ended, 10, 12, "`stdin`");
    assert_eq!(
        (&ended.records[0]["result"], &ended.records[11]["result"]),
        (&json!([0]), &json!([3]))
    );
    let unknown = &ended.records[4];
    assert_eq!(
        (&unknown["key"], &unknown["model"], &unknown["error"]["args"]),
        (&json!("k"), &json!("nowhere"), &json!([2]))
    );
    for id in [1, 9] {
        assert_eq!(
            ended.records[id]["error"]["args"],
            Value::Null,
            "what is no args is not in the record"
        );
    }
}

#[test]
fn a_key_that_comes_twice_is_invalid_with_and_without_records() {
    let lines = ["a", "b", "a", "", ""]
        .map(|key| line(key, "noop", "[]"))
        .concat();
    let ended = run_lines(&lines, &[support::guest("fixture").to_str().unwrap()]);
    assert_eq!(ended.column("status"), ["ok", "ok", "invalid", "ok", "ok"]);
    assert_eq!(ended.code, Some(1));
    assert_invalid(&ended, 2, 3, "the key \"a\" of task 2 is that of task 0 already");
    let tasks = TasksFile::new(&lines);
    let ended = to_the_end(mpwasm().args(["run", fixture(), "--tasks", tasks.path()]));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(
        ended.stderr.contains("is that of task 0 already"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_line_that_is_not_utf8_is_invalid() {
    let ended = echo(b"[\"\xff\"]\n[1]\n", &[]);
    assert_invalid(&ended, 0, 1, "UTF-8");
    assert_eq!(ended.records[1]["status"], "ok");
}

#[test]
fn args_larger_than_max_args_are_invalid_however_long_the_line() {
    let args = |bytes: usize| format!("[\"{}\"]\n", "x".repeat(bytes - 4));
    let lines = [args(100), args(101), args(4 << 20), "[1]\n".into()].concat();
    let ended = echo(lines, &["--max-args", "100"]);
    assert_eq!(ended.column("status"), ["ok", "invalid", "invalid", "ok"]);
    for (id, line) in [(1, 2), (2, 3)] {
        assert_invalid(&ended, id, line, "--max-args");
        assert_eq!(
            ended.records[id]["error"]["args"],
            Value::Null,
            "what is too large is not in the record"
        );
    }
}

#[test]
fn a_task_from_stdin_starts_before_stdin_ends() {
    let mut run = BackgroundRun::start(&[
        &format!("{}#echo", fixture()),
        "--size=1",
        "--tasks",
        "-",
        "--results",
        "-",
    ]);
    let mut stdin = run.child.stdin.take().unwrap();
    for n in 0..3 {
        stdin.write_all(format!("[{n}]\n").as_bytes()).unwrap();
        let record: Value = serde_json::from_str(&run.line()).unwrap();
        assert_eq!((&record["id"], &record["result"]), (&json!(n), &json!([n])));
    }
    drop(stdin);
    assert_eq!(run.rest(), b"");
    assert_eq!(run.wait(LIMIT).code(), Some(0));
}

#[test]
fn tasks_that_do_nothing_pass_at_a_rate_that_lets_100_000_end_in_seconds() {
    let tasks = TasksFile::new("[]\n".repeat(100_000));
    let noop = format!("{}#noop", fixture());
    // The shell's `times` prints the CPU time of a run and its processes, which other load on the machine does not
    // affect.
    let script = "\"$@\"; code=$?; times; exit $code";
    let binary = binary();
    let args = ["-c", script, "sh", binary.to_str().unwrap(), "run", "--size", "2"];
    let mut command = Command::new("/bin/sh");
    let ended = to_the_end(command.args(args).args([&noop, "--tasks", tasks.path()]));
    println!("{:?}; {}; {}", ended.wall, ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.starts_with("mpwasm: 100000 tasks: 100000 ok; "),
        "{}",
        ended.stderr
    );
    // The times of the children are on the second line: minutes and seconds in user mode and in the kernel.
    let children = ended.stdout.lines().nth(1).expect("two lines");
    let used: f64 = children.split_whitespace().map(seconds).sum();
    assert!(used > 0.0 && used < 10.0, "{used} s of CPU time");
}

/// Parses a time that `times` prints as `0m1.5s`.
fn seconds(text: &str) -> f64 {
    let (minutes, seconds) = text.strip_suffix('s').unwrap().split_once('m').unwrap();
    60.0 * minutes.parse::<f64>().unwrap() + seconds.parse::<f64>().unwrap()
}

/// Larger than all other messages may be, and than a worker reads within the time in which it has to claim a task.
#[test]
fn args_of_a_hundred_mebibytes_reach_their_task() {
    let guest = GuestFile::wat(
        r#"(module (memory (export "memory") 1)
            (func (export "runnable") (result i32) (i32.const 0)))"#,
    );
    let args = format!("[\"{}\"]\n", "x".repeat(100 << 20));
    let ended = run_lines(
        args.repeat(2),
        &[guest.path(), "--size", "2", "--max-args", "1GiB"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.column("status"), ["ok"; 2]);
}
