//! Output and logs of guests: complete lines, nothing lost, nothing that controls a terminal.

use std::collections::BTreeMap;

use serde_json::json;

use crate::completed::{
    CLOCK, GuestFile, LIMIT, PRINT, TasksFile, WAIT, fixture, line, run, run_lines, starts_and_spins,
    to_the_end,
};
use crate::support::{self, BackgroundRun, mpwasm, retry_when_late, send};

#[test]
fn lines_of_many_tasks_on_several_workers_never_mix() {
    // Each task prints 20 lines of a letter of its own.
    let line_of = |task: usize, n: usize| {
        let letter = char::from(b'a' + u8::try_from(task % 26).unwrap());
        letter.to_string().repeat(1 + (task * 37 + n * 331) % 4000)
    };
    let tasks: String = (0..60)
        .map(|task| {
            let text: String = (0..20).map(|n| line_of(task, n) + "\n").collect();
            line("", "print", &json!([text, ""]).to_string())
        })
        .collect();
    let ended = run_lines(tasks, &[fixture(), "--size", "4"]);
    assert_eq!(ended.code, Some(0));
    let count = |lines: &mut dyn Iterator<Item = String>| {
        let mut counts = BTreeMap::new();
        lines.for_each(|line| *counts.entry(line).or_insert(0) += 1);
        counts
    };
    let expected = count(&mut (0..60).flat_map(|task| (0..20).map(move |n| line_of(task, n))));
    let printed = count(&mut ended.stdout.lines().map(str::to_owned));
    assert!(
        printed == expected,
        "{} distinct lines, {} were expected",
        printed.len(),
        expected.len()
    );
}

#[test]
fn a_line_longer_than_4_kib_may_be_broken_but_nothing_comes_between_within_a_line() {
    let letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    let task = |letter: char| {
        line(
            "",
            "print",
            &json!([letter.to_string().repeat(100_000) + "\n", ""]).to_string(),
        )
    };
    let ended = run_lines(letters.map(task).concat(), &[fixture(), "--size", "4"]);
    let mut printed = BTreeMap::new();
    for line in ended.prints() {
        let letter = line.chars().next().expect("no line is empty");
        assert!(line.chars().all(|c| c == letter), "{line}");
        *printed.entry(letter).or_insert(0) += line.len();
    }
    assert_eq!(printed, letters.map(|letter| (letter, 100_000)).into());
}

#[test]
fn an_unfinished_line_waits_for_its_end() {
    // Longer than the 50 ms after which pieces are sent, two at a time.
    let guest = GuestFile::wat(&format!(
        r#"(module {CLOCK} {PRINT}
            (data (i32.const 16) "one half, other half\n")
            {WAIT}
            (func (export "runnable") (result i32)
                (call $print (i32.const 1) (i32.const 16) (i32.const 10))
                (call $wait (i64.const 150000000))
                (call $print (i32.const 1) (i32.const 26) (i32.const 11))
                (i32.const 0)))"#
    ));
    let ended = run_lines("[]\n".repeat(8), &[guest.path(), "--size", "4"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.prints(), ["one half, other half"; 8]);
}

#[test]
fn the_end_of_a_task_ends_its_line() {
    let tasks = (0..20)
        .map(|n| line("", "print", &format!("[\"task {n}\",\"\"]")))
        .collect::<String>();
    let ended = run_lines(tasks + &line("", "panic", "[]"), &[fixture(), "--size", "4"]);
    let mut prints = ended.prints();
    prints.sort_unstable();
    let mut expected: Vec<_> = (0..20).map(|n| format!("task {n}")).collect();
    expected.push("before the panic".into());
    expected.sort_unstable();
    assert_eq!(prints, expected);
    assert!(ended.stdout.ends_with('\n'));
}

#[test]
fn what_was_printed_before_a_timeout_is_not_lost() {
    let guest = starts_and_spins();
    retry_when_late(|| {
        // Each prints at once, and long before its deadline that was sent.
        let ended = run_lines(
            "[]\n".repeat(3),
            &[guest.path(), "--size", "1", "--timeout", "2s"],
        );
        assert_eq!(ended.column("status"), ["timeout"; 3], "{ended:#?}");
        assert_eq!(ended.prints(), ["started", "unfinished"].repeat(3), "{ended:#?}");
        // A worker that is descheduled at the deadline is killed before it reports how much it printed, and what it used.
        let (killed, reported): (Vec<_>, Vec<_>) = ended
            .records
            .iter()
            .partition(|record| record["cpu_us"].is_null());
        assert!(
            killed.iter().all(|record| record["stdout_bytes"] == 0),
            "{ended:#?}"
        );
        assert!(
            reported.iter().all(|record| record["stdout_bytes"] == 18),
            "{ended:#?}"
        );
        let is_reported = !reported.is_empty();
        is_reported
            .then_some(())
            .ok_or_else(|| format!("all were killed: {ended:#?}"))
    });
}

#[test]
fn what_was_printed_before_the_worker_was_killed_is_not_lost() {
    let guest = starts_and_spins();
    let tasks = TasksFile::new("[]\n");
    let mut run = BackgroundRun::start(&[guest.path(), "--size=1", "--tasks", tasks.path()]);
    assert_eq!(run.line(), "started\n", "a line is there while its task runs");
    send(run.workers(1)[0], nix::sys::signal::Signal::SIGKILL);
    assert_eq!(run.wait(LIMIT).code(), Some(1));
    let rest = String::from_utf8(run.rest()).unwrap();
    // The last 50 ms of an unfinished line may be lost, and then the line may never have begun.
    assert!(["", "unfinished\n"].contains(&rest.as_str()), "{rest:?}");
}

#[test]
fn the_two_streams_of_a_guest_go_to_the_two_streams_of_mpwasm() {
    let ended = run_lines(
        line("", "print", r#"["to stdout\n","to stderr\n"]"#),
        &[fixture()],
    );
    assert_eq!(ended.stdout, "to stdout\n");
    assert_eq!(ended.stderr.lines().next(), Some("to stderr"), "{}", ended.stderr);
}

#[test]
fn with_records_on_stdout_all_prints_go_to_stderr() {
    let tasks = TasksFile::new(line("", "print", r#"["to stdout\n","to stderr\n"]"#).repeat(5));
    let ended = to_the_end(mpwasm().args(["run", fixture(), "--results", "-", "--tasks", tasks.path()]));
    let records = support::records(ended.stdout.as_bytes());
    assert_eq!(records.len(), 5);
    for text in ["to stdout", "to stderr"] {
        assert_eq!(
            ended.stderr.lines().filter(|line| *line == text).count(),
            5,
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_record_says_how_much_its_task_printed() {
    let ended = run_lines(line("", "print", r#"["abc\n","error\n"]"#), &[fixture()]);
    let record = &ended.records[0];
    assert_eq!(
        (&record["stdout_bytes"], &record["output_truncated"]),
        (&json!(4), &json!(false))
    );
}

#[test]
fn a_flood_is_cut_and_flagged() {
    let lines = [
        line("flood", "print", &json!(["x".repeat(20_000), ""]).to_string()),
        line("quiet", "print", r#"["quiet\n",""]"#),
    ];
    let ended = run_lines(
        lines.concat(),
        &[fixture(), "--size", "1", "--max-output", "10000"],
    );
    let flood = ended.record("flood");
    assert_eq!(flood["output_truncated"], true, "{flood}");
    assert_eq!(flood["stdout_bytes"], 20_000, "it counts the dropped bytes");
    assert_eq!(ended.record("quiet")["output_truncated"], false);
    // A newline ends the cut line, and the next task prints as ever.
    assert_eq!(ended.stdout, "x".repeat(10_000) + "\nquiet\n");
}

#[test]
fn a_flood_of_logs_is_cut_and_flagged_too() {
    let text = "x".repeat(1000);
    let ended = run_lines(
        line("", "log", &json!([text]).to_string()),
        &[fixture(), "--max-output", "1500"],
    );
    assert_eq!(ended.records[0]["output_truncated"], true, "{ended:#?}");
    assert!(ended.stderr.matches('x').count() <= 1500);
}

#[test]
fn escape_sequences_in_messages_and_keys_are_inert_on_stderr_and_whole_in_the_record() {
    let message = "\u{1b}[31mred\nmpwasm: forged\r\u{9b}2J\u{202e}";
    let task = json!({"model": "fail", "args": [message], "key": "\u{1b}]0;title\u{7}\n"});
    let ended = run_lines(format!("{task}\n"), &[fixture()]);
    assert_eq!(ended.records[0]["error"]["message"], message);
    assert_eq!(ended.records[0]["key"], task["key"]);
    let [failure, summary] = ended.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("{:?}", ended.stderr)
    };
    assert!(
        failure.contains(r"\u{1b}[31mred\nmpwasm: forged\r\u{9b}2J\u{202e}"),
        "{failure:?}"
    );
    assert!(failure.contains(r"\u{1b}]0;title\u{7}\n"), "{failure:?}");
    assert!(summary.starts_with("mpwasm: 1 task: 1 error"));
    assert!(
        !ended.stderr.chars().any(|c| c.is_control() && c != '\n'),
        "{:?}",
        ended.stderr
    );
}

#[test]
fn log_lines_are_one_line_each_with_their_level_and_debug_is_shown_when_asked_for() {
    let task = line("", "log", r#"["\u001b[2J\nx"]"#);
    let logged = |args: &[&str]| {
        let ended = run_lines(&task, &[&[fixture(), "--size=1"], args].concat());
        let lines = ended
            .stderr
            .lines()
            .filter(|line| line.contains("task=0 attempt=1 worker=0 text="))
            .map(|line| line.trim_start().to_owned());
        lines.collect::<Vec<_>>()
    };
    let line = |level: &str| {
        let shown = level.to_uppercase();
        format!("{shown} task=0 attempt=1 worker=0 text=\"{level} \\\\u{{1b}}[2J\\\\nx\"")
    };
    assert_eq!(logged(&[]), ["error", "warn", "info"].map(line));
    assert_eq!(logged(&["-v"]), ["error", "warn", "info", "debug"].map(line));
}

#[test]
fn names_in_a_backtrace_are_inert() {
    let guest = GuestFile::wat(
        r#"(module (memory (export "memory") 1)
            (func $deep (@name "\1b[31mred\nline") (unreachable))
            (func (export "runnable") (result i32) (call $deep) (i32.const 0)))"#,
    );
    let ended = run(&[guest.path(), "--args", "[]"]);
    let frame = ended.records[0]["error"]["backtrace"][0].as_str().unwrap();
    assert!(frame.contains(r"\u{1b}[31mred\nline"), "{frame:?}");
    assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
}

#[test]
fn what_becomes_of_the_processes_is_said_when_asked_for_and_without_colours() {
    let said = |args: &[&str]| {
        let ended = run_lines(
            line("", "noop", "[]"),
            &[&[fixture(), "--size", "1"], args].concat(),
        );
        assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
        let of_worker = ended
            .stderr
            .lines()
            .filter(|line| line.contains(" worker=0 pid="));
        of_worker
            .map(|line| {
                let what = line.trim_start().strip_prefix("DEBUG worker ").unwrap();
                what.split(':').next().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&[]), [""; 0]);
    let life = ["started", "ready", "assigned", "told to exit", "reaped"];
    assert_eq!(said(&["-v"]), life);
}

#[test]
fn a_worker_that_is_killed_is_said_to_be_and_why() {
    let ended = run(&[
        &support::fixture("noop"),
        "--isolation=process",
        "--size=1",
        "--args=[]",
        "-v",
    ]);
    let line = |what: &str| ended.stderr.lines().find(|line| line.contains(what));
    let assigned = line("worker assigned").unwrap();
    assert!(assigned.contains("task=0 attempt=1"), "{assigned}");
    for what in [
        "dispatcher started",
        "dispatcher ready",
        "compiler started",
        "compiler reaped: ",
        "dispatcher reaped: ",
    ] {
        assert!(
            line(what).is_some_and(|line| line.contains("pid=")),
            "{what}: {}",
            ended.stderr
        );
    }

    let lines = [
        crate::completed::line("", "spin", "[]"),
        crate::completed::line("", "noop", "[]"),
    ];
    let ended = run_lines(
        lines.concat(),
        &[fixture(), "--size=2", "--halt=now,success=1", "-v"],
    );
    assert!(
        ended.stderr.contains("worker killed: it is not needed any more"),
        "{}",
        ended.stderr
    );
}

#[test]
fn log_lines_can_be_json_and_are_inert_all_the_same() {
    let task = line("", "log", r#"["\u001b[2J\u202ex"]"#);
    let ended = run_lines(task, &[fixture(), "--size=1", "-v", "--log-format=json"]);
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let logged: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "mpwasm::guest")
        .collect();
    assert_eq!(logged.len(), 4, "{}", ended.stderr);
    for (line, level) in logged.into_iter().zip(["error", "warn", "info", "debug"]) {
        assert_eq!(line["level"], level.to_uppercase());
        assert_eq!(
            (&line["task"], &line["attempt"], &line["worker"]),
            (&0.into(), &1.into(), &0.into())
        );
        assert_eq!(line["text"], format!("{level} \\u{{1b}}[2J\\u{{202e}}x"));
        assert!(line["timestamp"].is_string());
    }
    let assigned = lines.iter().find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("assigned"))
    });
    assert_eq!(assigned.unwrap()["task"], 0);
}

#[test]
fn a_task_whose_prints_cannot_be_written_is_counted() {
    // The task still runs when that is noticed.
    let guest = starts_and_spins();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = mpwasm()
        .args(["run", guest.path(), "--args", "[]"])
        .stdin(std::process::Stdio::null())
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("cannot write what guests print"), "{stderr}");
    assert!(stderr.contains("mpwasm: 1 task: 1 cancelled"), "{stderr}");
}
