//! How a run is displayed: order, tags, an early end, the summary.

use serde_json::{Value, json};

use crate::completed::{GuestFile, TasksFile, fixture, line, run, run_lines, to_the_end};
use crate::support::{self, mpwasm};

fn prints(text: &str) -> String {
    let args = json!([format!("{text}\n"), ""]);
    format!("{}\n", json!({"model": "print", "key": text, "args": args}))
}

#[test]
fn output_and_records_keep_the_order_while_the_first_task_is_slow() {
    // While the task on one of two workers sleeps, the other worker runs all the rest.
    let mut lines = line("slow", "sleep", "[700]");
    let names: Vec<_> = (0..3000).map(|number| number.to_string()).collect();
    lines.extend(names.iter().map(|name| prints(name)));
    let ended = run_lines(&lines, &[fixture(), "--size=2", "--keep-order"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.prints(), names);
    let written: Vec<_> = ended
        .lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect();
    let ids: Vec<_> = written
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (0..3001).collect::<Vec<_>>());
    // Others ended before the first did: it began before them and was still asleep.
    let worker = |record: &Value| record["worker"].as_u64().unwrap();
    let by_others = written[1..]
        .iter()
        .filter(|record| worker(record) != worker(&written[0]));
    assert!(by_others.count() > 500);
}

#[test]
fn without_it_nothing_waits_for_the_first() {
    let lines = [line("slow", "sleep", "[700]"), prints("x"), prints("y")].concat();
    let ended = run_lines(lines, &[fixture(), "--size=2"]);
    let last: Value = serde_json::from_str(ended.lines.last().unwrap()).unwrap();
    assert_eq!(last["key"], "slow");
}

#[test]
fn what_is_cancelled_has_its_record_in_order_too() {
    let lines = [line("", "spin", "[]"), line("", "noop", "[]")].concat();
    let ended = run_lines(lines, &[fixture(), "--size=2", "-k", "--halt=now,success=1"]);
    assert_eq!(ended.column("status"), ["cancelled", "ok"]);
    assert!(ended.lines[0].starts_with("{\"id\":0,"), "{ended:#?}");
}

#[test]
fn lines_have_the_tag_of_their_task() {
    let ended = run_lines(
        [prints("a\nb"), prints("c")].concat(),
        &[fixture(), "-k", "--tag"],
    );
    assert_eq!(ended.prints(), ["a\\nb\ta", "a\\nb\tb", "c\tc"]);
    let print = support::fixture("print");
    let ended = run(&[&print, "--tag", "--", "{}\n", "", ":::", "an input"]);
    assert_eq!(ended.prints(), ["an input\tan input"]);
    let ended = run(&[&print, "--tag", "--", "{1}\n", "", ":::", "a", ":::", "b"]);
    assert_eq!(ended.prints(), ["a b\ta"]);
    let ended = run(&[&print, "--tag", "--args", "[\"x\\n\",\"\"]"]);
    assert_eq!(ended.prints(), ["0\tx"]);
}

#[test]
fn a_run_halts_when_enough_failed() {
    // The last task would take minutes.
    let lines = [
        line("", "fail", "[\"no\"]").repeat(5),
        line("", "sleep", "[1000]").repeat(500),
    ]
    .concat();
    for halt in ["now,fail=2", "soon,fail=2", "soon,fail=50%"] {
        let ended = run_lines(&lines, &[fixture(), "--size=2", "--halt", halt]);
        support::assert_each_id_once(&ended.records, ended.records.len() as u64);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains(&format!("--halt {halt}")),
            "{}",
            ended.stderr
        );
        let status = ended.column("status");
        assert!(status.contains(&"cancelled"), "{halt}: {status:?}");
        let failed = status.iter().filter(|status| **status == "error").count();
        assert!((2..=5).contains(&failed), "{halt}: {failed}");
    }
    let lines = line("", "noop", "[]").repeat(1000);
    let ended = run_lines(lines, &[fixture(), "--size=2", "--halt=now,fail=1"]);
    assert_eq!((ended.code, ended.records.len()), (Some(0), 1000));
    assert!(!ended.stderr.contains("--halt"));
}

/// A command that creates the file that its second argument names, and then exits with 3.
const LEAVES_A_FILE: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $end i32)
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (drop (call $args (i32.const 16) (i32.const 64)))
        (local.set $end (i32.load (i32.const 20)))
        (block $found (loop $next
            (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
            (local.set $end (i32.add (local.get $end) (i32.const 1)))
            (br $next)))
        (drop (call $open (i32.const 3) (i32.const 0)
            (i32.load (i32.const 20)) (i32.sub (local.get $end) (i32.load (i32.const 20)))
            (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 8)))
        (call $exit (i32.const 3))))"#;

#[test]
fn no_task_begins_after_the_one_that_decided_to_halt() {
    let guest = GuestFile::wat(LEAVES_A_FILE);
    let inputs: Vec<_> = (0..2000).map(|number| number.to_string()).collect();
    let lines = TasksFile::new(inputs.join("\n"));
    for (size, more) in [
        (1, &[][..]),
        (2, &[]),
        (1, &["--isolation=process"]),
        (1, &["--retries=2", "--retry-on=exit"]),
    ] {
        for halt in ["soon,fail=3", "now,fail=3", "soon,fail=100%"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .unwrap();
            let (dir, workers) = (
                format!("--dir={}::/d", folder.path().display()),
                format!("--size={size}"),
            );
            let args = [guest.path(), &dir, &workers, "--halt", halt, "-a", lines.path()];
            let ended = run(&[&args[..], more].concat());
            assert_eq!(ended.code, Some(1), "{ended:#?}");
            let begun = std::fs::read_dir(folder.path()).unwrap().count();
            // Tasks in flight in the other workers continue.
            let most = 3 + size - 1;
            assert!(
                (3..=most).contains(&begun),
                "{begun} began with {halt} {args:?} {more:?}: {}",
                ended.stderr
            );
            let failed = ended
                .column("status")
                .iter()
                .filter(|status| **status == "exit")
                .count();
            assert!(failed >= 3 && failed <= begun, "{failed} of {begun}");
        }
    }
}

#[test]
fn a_bad_line_decides_to_halt_as_a_failed_task_does() {
    let good = line("", "noop", "[]").repeat(2000);
    let ended = run_lines(
        ["nonsense\n", &good].concat(),
        &[fixture(), "--size=1", "--halt=soon,fail=1"],
    );
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let status = ended.column("status");
    let ran = status.iter().filter(|status| **status == "ok").count();
    assert_eq!(ran, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("--halt soon,fail=1"), "{}", ended.stderr);
}

#[test]
fn callbacks_that_fail_decide_to_halt_and_no_task_begins_meanwhile() {
    let guest = GuestFile::wat(
        r#"(module
            (memory (export "memory") 1)
            (func (export "runnable") (result i32) (i32.const 0))
            (func (export "callback") (result i32) (i32.const 1)))"#,
    );
    let tasks = TasksFile::new("[]\n".repeat(2000));
    let ended = run(&[
        guest.path(),
        "--size=1",
        "--halt=soon,fail=3",
        "--tasks",
        tasks.path(),
    ]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let ran = ended
        .records
        .iter()
        .filter(|record| record["status"] == "ok")
        .count();
    assert_eq!(ran, 3, "{}", ended.stderr);
}

#[test]
fn a_run_halts_when_enough_went_well_and_that_is_no_failure() {
    let spinning = [
        line("", "busy", "[1000]").repeat(5),
        line("", "sleep", "[1000]").repeat(500),
    ]
    .concat();
    let ended = run_lines(spinning, &[fixture(), "--size=2", "--halt", "now,success=3"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.column("status").contains(&"cancelled"));
}

#[test]
fn the_summary_can_be_json() {
    let lines = [line("", "noop", "[]"), line("", "fail", "[\"no\"]")].concat();
    let ended = run_lines(lines, &[fixture(), "--summary", "json"]);
    let last: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["tasks"], &last["ok"], &last["error"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert!(last["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_halt_that_makes_no_sense_is_wrong_usage() {
    let ended = to_the_end(mpwasm().args(["run", fixture(), "--halt", "fail=1", "--args", "[]"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("now,fail=1"), "{}", ended.stderr);
}

#[test]
fn each_task_has_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let args = json!(["out\nand", "err"]);
    let lines = format!(
        "{}\n{}",
        json!({"model": "print", "args": args}),
        line("", "fail", "[\"no\"]")
    );
    let ended = run_lines(lines, &[fixture(), "--results-dir", root.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    assert_eq!(read("0/stdout").unwrap(), "out\nand");
    assert_eq!(read("0/stderr").unwrap(), "err");
    assert_eq!(read("1/stdout"), None);
    let record: Value = serde_json::from_str(&read("1/record.json").unwrap()).unwrap();
    assert_eq!((&record["id"], &record["status"]), (&json!(1), &json!("error")));
    assert_eq!(ended.stdout, "out\nand\n", "it is printed all the same");

    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = run(&[fixture(), "--results-dir", file.path().to_str().unwrap()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--results-dir"), "{}", refused.stderr);
}

#[test]
fn a_folder_of_results_that_can_not_be_written_ends_the_run_with_a_record_for_each_task() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("results");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("1"), "where the folder of task 1 would be").unwrap();
    let lines = line("", "noop", "[]") + "\n";
    let args = [fixture(), "--results-dir", root.to_str().unwrap(), "--overwrite"];
    for order in [&[][..], &["--keep-order"]] {
        let ended = run_lines(lines.repeat(20), &[&args[..], order].concat());
        assert_eq!(ended.code, Some(3), "{ended:#?}");
        assert!(ended.stderr.contains("results/1: "), "{ended:#?}");
        let mut ids: Vec<_> = ended
            .records
            .iter()
            .map(|record| record["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        // All accepted tasks, from the first on. The run may end before or after it has read all lines.
        assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
        assert!(
            ids.len() > 2,
            "more than those before and with the failure: {ended:#?}"
        );
    }
}

/// Runs `mpwasm run ARGS...` with stderr, and optionally stdout, on a terminal, as [`crate::completed::on_a_terminal`].
fn on_a_terminal(both: bool, args: &[&str]) -> (String, String) {
    let mut command = mpwasm();
    command.arg("run").args(args);
    crate::completed::on_a_terminal(both, command)
}

#[test]
fn a_bar_shows_how_far_a_run_is_and_leaves_prints_whole() {
    let mut lines: String = (0..200).map(|number| prints(&format!("line {number}"))).collect();
    lines += &line("", "fail", "[\"no\"]");
    let tasks = TasksFile::new(lines);
    let args = [
        fixture(),
        "--size=2",
        "--progress=always",
        "-k",
        "--tasks",
        tasks.path(),
    ];
    let (terminal, stdout) = on_a_terminal(false, &args);
    assert!(terminal.contains("201 of 201 ended, 1 failed"), "{terminal}");
    assert_eq!(stdout.lines().count(), 200);
    assert!(!stdout.contains('\u{1b}'));

    let (terminal, _) = on_a_terminal(true, &args);
    for number in 0..200 {
        let whole = format!("line {number}\r\n");
        assert!(terminal.contains(&whole), "{number} in {terminal}");
    }
    let (terminal, _) = on_a_terminal(false, &[&args[..2], &["--progress=never"], &args[3..]].concat());
    assert!(!terminal.contains("of 201 ended"), "{terminal}");
}

#[test]
fn a_bar_never_goes_into_a_pipe() {
    let echo = support::fixture("echo");
    let ended = run(&[&echo, "--progress=auto", ":::", "a"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let refused = run(&[&echo, "--progress=always", ":::", "a"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("terminal"), "{}", refused.stderr);
}

#[test]
fn records_on_stdout_are_the_same_with_tags_as_without() {
    for options in [&[][..], &["--tag"]] {
        let mut command = mpwasm();
        command.args(["run", &support::fixture("noop"), "--args", "[]", "--results", "-"]);
        let ended = to_the_end(command.args(options));
        let record: Value = serde_json::from_str(&ended.stdout).unwrap();
        let of_log = ["guest", "task"].map(|field| record.get(field));
        assert_eq!((ended.code, of_log), (Some(0), [None, None]), "{ended:#?}");
    }
}
