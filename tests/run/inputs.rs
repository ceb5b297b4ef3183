//! Args in the style of GNU parallel and xargs, several guests, and dry runs.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::completed::{GuestFile, LIMIT, TasksFile, fixture, run, run_lines, to_the_end};
use crate::support::{self, BackgroundRun, mpwasm};

fn echo() -> String {
    support::fixture("echo")
}

fn results(ended: &crate::completed::CompletedRun) -> Vec<String> {
    ended
        .records
        .iter()
        .map(|record| record["result"].to_string())
        .collect()
}

#[test]
fn each_input_is_a_task() {
    let ended = run(&[&echo(), ":::", "a", "--size", "{}"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(results(&ended), [r#"["a"]"#, r#"["--size"]"#, r#"["{}"]"#]);
    assert!(run(&[&echo(), ":::"]).stderr.contains("no tasks"));
}

#[test]
fn an_input_takes_its_place_in_the_words() {
    let ended = run(&[&echo(), "--", "convert", "{}", "{}.out", ":::", "x", "y z"]);
    assert_eq!(
        results(&ended),
        [r#"["convert","x","x.out"]"#, r#"["convert","y z","y z.out"]"#]
    );
    let ended = run(&[&echo(), "--", "first", ":::", "last"]);
    assert_eq!(results(&ended), [r#"["first","last"]"#]);
}

#[test]
fn several_lists_are_combined_and_the_last_varies_fastest() {
    let ended = run(&[&echo(), ":::", "a", "b", ":::", "1", "2"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(
        results(&ended),
        [r#"["a","1"]"#, r#"["a","2"]"#, r#"["b","1"]"#, r#"["b","2"]"#]
    );
    let ended = run(&[&echo(), "--", "{2}{1}", "{}.x", "{}", ":::", "a", "b", ":::", "1"]);
    assert_eq!(
        results(&ended),
        [r#"["1a","a 1.x","a","1"]"#, r#"["1b","b 1.x","b","1"]"#]
    );
    assert!(run(&[&echo(), ":::", "a", ":::"]).stderr.contains("no tasks"));
}

#[test]
fn linked_lists_go_together_as_far_as_the_shortest() {
    let lists = [":::", "a", "b", "c", ":::+", "1", "2", ":::", "X", "Y"];
    let ended = run(&[&[echo().as_str()], &lists[..]].concat());
    assert_eq!(
        results(&ended),
        [
            r#"["a","1","X"]"#,
            r#"["a","1","Y"]"#,
            r#"["b","2","X"]"#,
            r#"["b","2","Y"]"#
        ]
    );
}

#[test]
fn files_are_combined_with_files_and_lists() {
    let (one, two) = (TasksFile::new("a\nb\n"), TasksFile::new("1\n2\n"));
    let ended = run(&[&echo(), "-a", one.path(), "-a", two.path(), ":::", "X"]);
    assert_eq!(
        results(&ended),
        [
            r#"["a","1","X"]"#,
            r#"["a","2","X"]"#,
            r#"["b","1","X"]"#,
            r#"["b","2","X"]"#
        ]
    );
    let bad = TasksFile::new(b"1\n\xff\n");
    let refused = run(&[&echo(), "-a", one.path(), "-a", bad.path()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("input 2 of"), "{}", refused.stderr);
    let many = TasksFile::new("x\n".repeat(3_000_000));
    let refused = run(&[&echo(), "-a", one.path(), "-a", many.path()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("64.0 MiB"), "{}", refused.stderr);
}

#[test]
fn a_list_that_is_linked_with_a_stream_ends_it() {
    let mut child = mpwasm()
        .args(["run", &echo(), "-a", "-", "--results", "-", ":::+", "1", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\n").unwrap(); // stdin stays open
    let stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(stdout.lines().count(), 2);
    let mut run = BackgroundRun { child, stdout: None };
    assert_eq!(run.wait(LIMIT).code(), Some(0));
    drop(stdin);
}

#[test]
fn inputs_may_end_with_a_zero_byte() {
    let names = TasksFile::new("one\nname\0two\r\0\0last");
    for null in ["-0", "--null"] {
        let ended = run(&[&echo(), null, "-a", names.path()]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(
            results(&ended),
            [r#"["one\nname"]"#, r#"["two\r"]"#, r#"[""]"#, r#"["last"]"#]
        );
    }
}

#[test]
fn an_input_that_looks_like_an_option_is_warned_about() {
    let ended = run(&[&echo(), ":::", "a", "--timeout", "5s"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(results(&ended), [r#"["a"]"#, r#"["--timeout"]"#, r#"["5s"]"#]);
    let warnings: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("warning"))
        .collect();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    assert!(
        warnings[0].contains("--timeout") && warnings[0].contains(":::"),
        "{warnings:?}"
    );
    for harmless in [&["-5", "-"][..], &["a-b", "--"]] {
        let ended = run(&[&[echo().as_str(), ":::"], harmless].concat());
        assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    }
}

#[test]
fn combinations_are_made_as_they_are_run() {
    // 10^18 combinations.
    let numbers: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    let list = [":::".to_owned()].into_iter().chain(numbers);
    let lists: Vec<_> = std::iter::repeat_n(list, 6).flatten().collect();
    let guest = echo();
    let mut args: Vec<_> = vec![guest.as_str(), "--size=1", "--results", "-"];
    args.extend(lists.iter().map(String::as_str));
    let mut run = BackgroundRun::start(&args);
    for _ in 0..10_000 {
        assert!(run.line().contains("\"status\":\"ok\""));
    }
    let memory = support::resident(run.pid()).unwrap();
    assert!(memory < 200 << 20, "{memory} bytes");
    drop(run.stdout.take());
    assert_eq!(run.wait(LIMIT).code(), Some(141));
}

#[test]
fn each_line_of_a_file_is_a_task() {
    let lines = TasksFile::new("one\r\n\n[2]\n\"three\" \n\u{fffd}");
    let ended = run(&[&echo(), "-a", lines.path()]);
    assert_eq!(
        results(&ended),
        [
            r#"["one"]"#,
            r#"[""]"#,
            r#"["[2]"]"#,
            r#"["\"three\" "]"#,
            "[\"\u{fffd}\"]"
        ]
    );
    let bad = TasksFile::new(b"good\n\xff\n");
    let ended = run(&[&echo(), "-a", bad.path()]);
    assert_eq!(ended.column("status"), ["ok", "invalid"]);
    let message = ended.records[1]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("line 2") && message.contains("not UTF-8"),
        "{message}"
    );
}

#[test]
fn a_run_starts_with_the_first_line_and_ends_with_its_reader() {
    let mut child = mpwasm()
        .args(["run", "--size", "2", &echo(), "-a", "-", "--results", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Lines without end, like the output of `seq 1000000`. The writer stops when they are not read any more.
    let writer = std::thread::spawn(move || {
        let written = (0_u64..).take_while(|number| writeln!(stdin, "{number}").is_ok());
        written.count()
    });
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("\"status\":\"ok\""), "{first}");
    let mut run = BackgroundRun { child, stdout: None };
    let children: Vec<_> = support::descendants(run.pid())
        .into_iter()
        .filter_map(support::pidfd_if_there)
        .collect();
    assert!(children.len() >= 2, "a dispatcher and workers");
    drop(stdout);
    assert_eq!(run.wait(LIMIT).code(), Some(141));
    support::assert_all_end(&children, LIMIT);
    writer.join().unwrap();
}

/// Returns a guest whose result is this number.
fn answers(number: u32) -> GuestFile {
    answers_as(&format!("answer{number}.wat"), number)
}

fn answers_as(file: &str, number: u32) -> GuestFile {
    GuestFile::file(
        file,
        format!(
            r#"(module (import "mpwasm_v1" "output_write" (func $out (param i32 i32)))
                (memory (export "memory") 1) (data (i32.const 0) "{number}")
                (func (export "runnable") (result i32) (call $out (i32.const 0) (i32.const 1)) (i32.const 0)))"#
        )
        .as_bytes(),
    )
}

#[test]
fn task_lines_name_their_guest_by_path_file_or_stem() {
    let (one, two) = (answers(1), answers(2));
    let lines = format!(
        "{{\"guest\":\"{}\",\"args\":[]}}\n{{\"guest\":\"answer2.wat\",\"args\":[]}}\n{{\"guest\":\"answer1\",\"args\":[]}}\n\
         []\n{{\"guest\":\"answer3\",\"args\":[]}}\n",
        two.path()
    );
    let ended = run_lines(lines, &[one.path(), two.path()]);
    assert_eq!(results(&ended)[..3], ["2", "2", "1"]);
    assert_eq!(ended.column("status")[3..], ["invalid", "invalid"]);
    let message = |place: usize| ended.records[place]["error"]["message"].as_str().unwrap();
    assert!(message(3).contains("line 4") && message(3).contains("names no `guest`"));
    assert!(message(4).contains("no guest `answer3`") && message(4).contains("answer1.wat"));
}

#[test]
fn a_name_that_could_mean_two_guests_means_none() {
    let (one, other) = (answers(1), answers(1));
    let lines = format!(
        "{{\"guest\":\"answer1\",\"args\":[]}}\n{{\"guest\":\"{}\",\"args\":[]}}\n",
        one.path()
    );
    let ended = run_lines(lines, &[one.path(), other.path()]);
    assert_eq!(ended.column("status"), ["invalid", "ok"]);
    assert!(
        ended.records[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("could be")
    );
}

#[test]
fn a_bad_guest_is_refused_before_a_good_one_runs() {
    let bad = GuestFile::wat("(module)");
    let lines = TasksFile::new(format!(
        "{{\"guest\":\"{}\",\"model\":\"noop\",\"args\":[]}}\n",
        fixture()
    ));
    let ended = run(&[fixture(), bad.path(), "--tasks", lines.path()]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.records.is_empty() && ended.stderr.contains("guest.wat"),
        "{ended:#?}"
    );
    let ended = run(&[fixture(), fixture(), ":::", "x"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("several guests"), "{}", ended.stderr);
}

#[test]
fn a_dry_run_prints_task_lines_that_mean_the_same_and_runs_nothing() {
    let lines = "{\"model\":\"print\",\"args\":[\"x\\n\",\"\"],\"key\":\"k\",\"timeout\":2}\nnonsense\n";
    let tasks = TasksFile::new(lines);
    let results = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(results.path(), "old").unwrap();
    let dry = to_the_end(
        mpwasm()
            .args([
                "run",
                "--dry-run",
                fixture(),
                "--tasks",
                tasks.path(),
                "--results",
            ])
            .arg(results.path()),
    );
    assert_eq!(std::fs::read(results.path()).unwrap(), b"old");
    assert_eq!(
        dry.stdout,
        "{\"key\":\"k\",\"model\":\"print\",\"timeout\":\"2s\",\"args\":[\"x\\n\",\"\"]}\n"
    );
    assert!(dry.stderr.contains("line 2"), "{}", dry.stderr);
    let ended = run_lines(&dry.stdout, &[fixture()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "x\n"));
    let pushed = to_the_end(mpwasm().args(["run", "--dry-run"]).arg(support::guest("demo")));
    assert!(
        pushed.stdout.lines().count() == 10 && pushed.code == Some(0),
        "{pushed:#?}"
    );
}

#[test]
fn a_dry_run_of_several_guests_names_them_as_the_command_line_does() {
    // Two files with the same name, and one file twice.
    let (one, other) = (answers_as("answer.wat", 1), answers_as("answer.wat", 2));
    let (noop, echo) = (support::fixture("noop"), echo());
    let line = |guest: &str| format!("{{\"guest\":\"{guest}\",\"args\":[]}}\n");
    for guests in [[one.path(), other.path()], [&noop, &echo]] {
        let tasks = TasksFile::new(guests.map(line).concat());
        let dry = to_the_end(
            mpwasm()
                .args(["run", "--dry-run", "--tasks", tasks.path()])
                .args(guests),
        );
        assert_eq!((dry.code, dry.stdout.lines().count()), (Some(0), 2), "{dry:#?}");
        let asked = run_lines(guests.map(line).concat(), &guests);
        let ended = run_lines(&dry.stdout, &guests);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(results(&ended), results(&asked));
        assert_eq!(ended.column("model"), asked.column("model"));
    }
}
