//! `mpwasm report`: each form, of the records of a real run, and logs that are none.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use csv_core::ReadRecordResult;
use quick_xml::events::Event;
use serde_json::Value;

use crate::completed::{LIMIT, TasksFile, fixture, line};
use crate::support::{binary, mpwasm, run_within};

/// Runs ten tasks, of which three end as `trap`, one as `error` and one as `timeout`. Returns the records file.
fn log_of_ten_tasks(folder: &Path) -> PathBuf {
    let lines = [
        line("a", "noop", "[]"),
        line("b", "noop", "[]"),
        line("c", "noop", "[]"),
        line("d", "noop", "[]"),
        line("e", "noop", "[]"),
        line("<script>alert(1)</script>", "trap", "[]"),
        line("=cmd()", "trap", "[]"),
        line("esc\\u001b[2J", "trap", "[]"),
        line("i", "fail", "[\"no item 17\"]"),
        "{\"key\":\"j\",\"model\":\"sleep\",\"args\":[60000],\"timeout\":\"50ms\"}\n".to_owned(),
    ];
    let tasks = TasksFile::new(lines.concat());
    let log = folder.join("log");
    let mut run = mpwasm();
    run.args(["run", "--size", "2", "--tasks"])
        .arg(tasks.path())
        .arg("--results")
        .arg(&log)
        .arg(fixture());
    let ended = run_within(LIMIT, &mut run);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    log
}

fn report(args: &[&str], logs: &[&Path]) -> Output {
    run_within(LIMIT, mpwasm().arg("report").args(args).args(logs))
}

fn stdout(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn every_form_of_a_report_has_the_ten_tasks_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());

    let text = report(&[], &[&log]);
    let text = stdout(&text);
    assert!(text.starts_with("10 tasks: "), "{text}");
    for part in [
        "5 ok, 5 failed",
        "Failures: 5 tasks in 3 groups",
        "no item <n>",
        "Workers",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let json = report(&["--format", "json"], &[&log]);
    let json: Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!(
        (&json["tasks"]["total"], &json["tasks"]["by_status"]["trap"]),
        (&10.into(), &3.into())
    );
    assert_eq!(json["failures"]["groups"][0]["count"], 3);
    assert!(json["time"]["wall_us"].as_u64().unwrap() >= 50_000, "{json:#}");
    let ended = json["throughput"]["intervals"].as_array().unwrap().iter();
    assert_eq!(
        ended
            .map(|interval| interval["ended"].as_u64().unwrap())
            .sum::<u64>(),
        10
    );

    let csv = report(&["--format", "csv"], &[&log]);
    let keys = csv_column(stdout(&csv), 3);
    assert_eq!(keys.len(), 11);
    assert!(keys.contains(&"'=cmd()".to_owned()), "{keys:?}");

    let junit = report(&["--format", "junit"], &[&log]);
    let (cases, failures) = test_cases(stdout(&junit));
    assert_eq!((cases.len(), failures), (10, 5));
    assert!(
        cases.contains(&"<script>alert(1)</script>".to_owned()),
        "{cases:?}"
    );
}

/// Returns the fields of a column.
fn csv_column(text: &str, column: usize) -> Vec<String> {
    let mut reader = csv_core::Reader::new();
    let (mut rest, mut fields) = (text.as_bytes(), Vec::new());
    let (mut output, mut ends) = (vec![0; text.len()], [0; 100]);
    loop {
        let (result, read, _, _) = reader.read_record(rest, &mut output, &mut ends);
        rest = &rest[read..];
        match result {
            ReadRecordResult::Record => {
                let field = &output[ends[column - 1]..ends[column]];
                fields.push(str::from_utf8(field).unwrap().to_owned());
            }
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End => return fields,
            other => panic!("{other:?}"),
        }
    }
}

/// Returns the names of the test cases, and the number of failures.
fn test_cases(text: &str) -> (Vec<String>, usize) {
    let mut xml = quick_xml::Reader::from_str(text);
    let (mut names, mut failures) = (Vec::new(), 0);
    loop {
        match xml.read_event().unwrap() {
            Event::Eof => return (names, failures),
            Event::Start(element) | Event::Empty(element) => match element.name().0 {
                b"testcase" => {
                    let name = element.try_get_attribute("name").unwrap().unwrap();
                    let name = name.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap();
                    names.push(name.into_owned());
                }
                b"failure" => failures += 1,
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn a_page_is_one_file_with_the_ten_tasks_and_nothing_that_runs_but_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());
    let output = folder.path().join("report.html");
    let args = ["--format", "html", "-o", output.to_str().unwrap()];
    assert_eq!(stdout(&report(&args, &[&log])), "");
    let page = fs::read_to_string(&output).unwrap();
    assert!(
        page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"),
        "{page}"
    );
    for part in [
        "<strong>10 tasks</strong>",
        "5 ok",
        "5 failed",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        r"esc\u{1b}[2J",
        "<summary><span class=\"count\">3</span> <span class=\"kind bad\">trap</span>",
        "<bdi>no item &lt;n&gt;</bdi>",
        "default-src 'none'",
    ] {
        assert!(
            page.contains(&part.replace('\'', "&#39;")),
            "{part} is missing in\n{page}"
        );
    }
    assert!(
        !page.contains("<script>alert") && !page.contains('\u{1b}'),
        "{page}"
    );
    for loading in [" src=", "url(", "@import", "http://", "<link", "<img", "<iframe"] {
        assert!(!page.contains(loading), "{loading} in\n{page}");
    }
}

#[test]
fn a_page_of_a_million_tasks_is_small_and_takes_bounded_memory() {
    const TASKS: u64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("report.html");
    // 200 MiB of address space, with the program itself.
    let limited = "ulimit -v 204800; exec \"$0\" report --format html -o \"$1\" -";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(binary()).arg(&output);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut log = BufWriter::with_capacity(1 << 20, child.stdin.take().unwrap());
    for id in 0..TASKS {
        let (worker, start) = (id % 16, 1_764_489_000_000_000 + id * 100);
        writeln!(
            log,
            r#"{{"id":{id},"key":"item-{id}","model":"","status":"ok","attempts":1,"worker":{worker},"pid":7,"started_us":{start},"queued_us":{id},"run_us":1500,"cpu_us":1400,"memory_peak":65536,"stdout_bytes":0,"output_truncated":false,"callback":"none"}}"#
        )
        .unwrap();
    }
    drop(log.into_inner().unwrap());
    assert!(child.wait().unwrap().success());
    let page = fs::read_to_string(&output).unwrap();
    assert!(page.contains("<strong>1,000,000 tasks</strong>"));
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
}

#[test]
fn a_file_is_replaced_by_a_whole_report_only() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());
    let output = folder.path().join("report.json");
    let args = ["--format", "json", "-o", output.to_str().unwrap()];
    fs::write(&output, "old").unwrap();
    let missing = folder.path().join("missing");
    assert_eq!(report(&args, &[&log, &missing]).status.code(), Some(2));
    assert_eq!(fs::read_to_string(&output).unwrap(), "old");
    assert_eq!(stdout(&report(&args, &[&log])), "");
    let written: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!(written["tasks"]["total"], 10);

    let over_the_log = report(&["-o", log.to_str().unwrap()], &[&log]);
    assert_eq!(over_the_log.status.code(), Some(2), "{over_the_log:?}");
    assert!(fs::read_to_string(&log).unwrap().starts_with("{\"id\""));
}

#[test]
fn logs_that_are_none_are_named_and_good_lines_of_torn_ones_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };

    let foreign = file("foreign", b"GIF89a\0\xff\n\x1b[2J");
    let refused = report(&[], &[&foreign]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let message = str::from_utf8(&refused.stderr).unwrap();
    assert!(
        message.contains("there are no records") && message.contains("foreign line 1"),
        "{message}"
    );

    let mut torn = fs::read(&log).unwrap();
    torn.truncate(torn.len() - 10);
    let torn = file("torn", &torn);
    let with_torn = report(&[], &[&log, &torn, &foreign]);
    let text = stdout(&with_torn);
    assert!(text.starts_with("19 tasks: "), "{text}");
    assert!(text.contains("Left out: 3 lines"), "{text}");

    let csv = report(&["--format", "csv"], &[&torn]);
    assert_eq!(csv_column(stdout(&csv), 3).len(), 10);
    let message = str::from_utf8(&csv.stderr).unwrap();
    assert!(message.contains("torn line 10 is cut off"), "{message}");

    let empty = file("empty", b"");
    assert!(stdout(&report(&[], &[&empty])).starts_with("0 tasks"));
    for logs in [&[folder.path()][..], &[&*log, &*log]] {
        let refused = report(&[], logs);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_log_with_a_line_of_100_megabytes_takes_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());
    let mut file = File::options().append(true).open(&log).unwrap();
    for _ in 0..100 {
        file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\n").unwrap();
    // 150 MiB of address space: the program itself, and a buffer of 64 MiB.
    let limited = "ulimit -v 153600; exec \"$0\" report --format json \"$1\"";
    let output = run_within(
        LIMIT,
        Command::new("sh").args(["-c", limited]).arg(binary()).arg(&log),
    );
    let json: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(
        (&json["tasks"]["total"], &json["bad_lines"]["too_long"]),
        (&10.into(), &1.into())
    );
}

#[test]
fn records_can_come_from_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of_ten_tasks(folder.path());
    let mut command = mpwasm();
    let output = command
        .args(["report", "-"])
        .stdin(File::open(log).unwrap())
        .output()
        .unwrap();
    assert!(stdout(&output).starts_with("10 tasks: "));
}
