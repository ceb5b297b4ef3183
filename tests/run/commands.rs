//! Command guests: argv and stdin come from the task, the streams and the exit code are in the record.

use serde_json::{Value, json};

use crate::completed::{CompletedRun, GuestFile, TasksFile, fixture, run, run_lines, to_the_end};
use crate::support::{mpwasm, retry_when_late};

const COMMAND: &str = crate::support::COMMAND;

fn command() -> GuestFile {
    GuestFile::file("command.wat", COMMAND.as_bytes())
}

fn ran(lines: impl AsRef<[u8]>, options: &[&str]) -> CompletedRun {
    let guest = command();
    run_lines(lines, &[&[guest.path(), "--size", "2"], options].concat())
}

fn result(stdout: &str) -> Value {
    json!({"exit_code": 0, "stdout": stdout, "stderr": ""})
}

#[test]
fn arguments_become_argv_and_stdout_the_result_which_is_not_printed_too() {
    let guest = command();
    let ended = run(&[guest.path(), "--", "args", "a b", ""]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.records[0]["result"], result("command.wat\0args\0a b\0\0"));
    assert_eq!(
        (ended.stdout.as_str(), ended.records[0]["stdout_bytes"].as_u64()),
        ("", Some(22))
    );
}

#[test]
fn a_command_without_tasks_runs_once_without_arguments() {
    let guest = command();
    let ended = run(&[guest.path()]);
    assert_eq!((ended.code, ended.records.len()), (Some(0), 1), "{ended:#?}");
    assert_eq!(ended.records[0]["result"], result("none\n"));
}

#[test]
fn a_task_line_gives_a_stdin() {
    let large = "line of text\n".repeat(20_000);
    let lines = format!(
        "{}\n{}\n{}\n{}\n",
        json!({"args": ["cat"], "stdin": "in \u{0}ä\n", "key": "some"}),
        json!({"args": ["cat"], "stdin": large, "key": "large"}),
        json!({"args": ["cat"], "key": "none"}),
        json!({"args": ["sleep"], "stdin": "x", "key": "polled"}),
    );
    let ended = ran(lines, &[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.record("some")["result"], result("in \u{0}ä\n"));
    assert_eq!(ended.record("large")["result"], result(&large));
    assert_eq!(ended.record("none")["result"], result(""));
    assert_eq!(ended.record("polled")["result"], result("ready\nnone\n"));
}

#[test]
fn a_task_line_gives_a_stdin_of_any_bytes() {
    let lines = format!(
        "{}\n{}\n{}\n{}\n",
        json!({"args": ["cat"], "stdin_base64": "/wAKaQ==", "key": "bytes"}),
        json!({"args": ["cat"], "stdin_base64": "aGk=", "key": "text"}),
        json!({"args": ["cat"], "stdin": "a", "stdin_base64": "YQ==", "key": "both"}),
        json!({"args": ["cat"], "stdin_base64": "no base64", "key": "neither"}),
    );
    let ended = ran(&lines, &[]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let bytes = json!({"exit_code": 0, "stdout_base64": "/wAKaQ==", "stderr": ""});
    assert_eq!(ended.record("bytes")["result"], bytes);
    assert_eq!(ended.record("text")["result"], result("hi"));
    let whys: Vec<_> = ended.records[2..]
        .iter()
        .map(|record| record["error"]["message"].to_string())
        .collect();
    assert!(whys[0].contains("both `stdin` and `stdin_base64`"), "{whys:?}");
    assert!(whys[1].contains("bad `stdin_base64`"), "{whys:?}");
    // A dry run prints the same tasks.
    let good: Vec<_> = lines.lines().take(2).collect();
    let dry = ran(good.join("\n"), &["--dry-run"]);
    let again = ran(&dry.stdout, &[]);
    assert_eq!(again.record("bytes")["result"], bytes, "{dry:#?}");
}

/// Creates a folder with these files. Returns the path of each.
fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = files.iter().map(|(name, content)| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let paths = paths.collect();
    (folder, paths)
}

#[test]
fn each_input_can_name_the_file_that_is_a_stdin() {
    let guest = command();
    let (folder, paths) = folder(&[("one", b"text\n"), ("two", b"\xff\0"), ("three", b"")]);
    let list = TasksFile::new(paths.join("\n"));
    let common = [guest.path(), "-k", "--stdin-files"];
    let listed: Vec<&str> = paths.iter().map(String::as_str).collect();
    for inputs in [
        vec!["-a", list.path(), "--", "cat"],
        [&["--", "cat", ":::"], &listed[..]].concat(),
    ] {
        let ended = run(&[&common[..], &inputs].concat());
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let bytes = json!({"exit_code": 0, "stdout_base64": "/wA=", "stderr": ""});
        assert_eq!(results(&ended), [&result("text\n"), &bytes, &result("")]);
    }
    drop(folder);
}

#[test]
fn a_file_that_is_no_stdin_ends_as_invalid_and_is_named() {
    let guest = command();
    let (folder, paths) = folder(&[("large", &[b'x'; 101]), ("fits", &[b'x'; 90])]);
    let missing = folder.path().join("missing");
    let [missing, directory] = [&missing, folder.path()].map(|path| path.to_str().unwrap());
    let inputs = [missing, directory, &paths[0], "/dev/zero", &paths[1]];
    let options = [
        guest.path(),
        "-k",
        "--max-args",
        "100",
        "--stdin-files",
        "--",
        "cat",
        ":::",
    ];
    let ended = run(&[&options[..], &inputs].concat());
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let invalid = ["invalid"; 4];
    assert_eq!(ended.column("status"), [&invalid[..], &["ok"]].concat());
    for (record, input) in ended.records.iter().zip(&inputs[..4]) {
        let message = record["error"]["message"].as_str().unwrap();
        assert!(message.contains(input), "{message}");
    }
    assert_eq!(
        run(&[guest.path(), "--stdin-files", "--stdin", ":::", "a"]).code,
        Some(2)
    );
    assert_eq!(run(&[guest.path(), "--stdin-files"]).code, Some(2));
}

#[test]
fn a_run_with_files_is_resumed_by_what_is_in_them() {
    let guest = command();
    let (folder, paths) = folder(&[("one", b"1"), ("two", b"2")]);
    let log = folder.path().join("log");
    let (log, first, second) = (log.to_str().unwrap(), &*paths[0], &*paths[1]);
    let mpwasm = |options: &[&str], inputs: &[&str]| {
        let mut command = mpwasm();
        command.args(["run", guest.path(), "--stdin-files", "--results", log]);
        to_the_end(command.args(options).args(["--", "cat", ":::"]).args(inputs))
    };
    assert_eq!(mpwasm(&[], &[first]).code, Some(0));
    let resumed = mpwasm(&["--resume"], &[first, second]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    std::fs::write(first, "other").unwrap();
    let refused = mpwasm(&["--resume"], &[first, second]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("stdin"), "{}", refused.stderr);
}

fn results(ended: &CompletedRun) -> Vec<&Value> {
    ended.records.iter().map(|record| &record["result"]).collect()
}

#[test]
fn each_line_of_a_file_can_be_the_stdin_of_a_task() {
    let guest = command();
    let lines = TasksFile::new("one\r\n\n[\"cat\"]\nlast");
    let cat = [guest.path(), "--stdin", "-k", "-a", lines.path(), "--", "cat"];
    let ended = run(&cat);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let expected = ["one\n", "\n", "[\"cat\"]\n", "last\n"].map(result);
    assert_eq!(results(&ended), expected.each_ref());
    let ids: Vec<_> = ended.lines.iter().map(|line| &line[..7]).collect();
    assert_eq!(ids, [r#"{"id":0"#, r#"{"id":1"#, r#"{"id":2"#, r#"{"id":3"#]);

    let lines = TasksFile::new([&b"\xff\n"[..], &[b'x'; 100], b"\nx"].concat());
    let ended = run(&[
        guest.path(),
        "--stdin",
        "--max-args=50",
        "-a",
        lines.path(),
        "--",
        "cat",
    ]);
    assert_eq!(ended.column("status"), ["invalid", "invalid", "ok"]);
    for (id, words) in [(0, "not UTF-8"), (1, "--max-args")] {
        let message = ended.records[id]["error"]["message"].as_str().unwrap();
        let line = format!("line {}", id + 1);
        assert!(message.contains(&line) && message.contains(words), "{message}");
    }
}

#[test]
fn the_words_beside_a_stdin_stay_as_they_are() {
    let guest = command();
    let ended = run(&[guest.path(), "--stdin", "--", "args", "{}", ":::", "in"]);
    assert_eq!(results(&ended), [&result("command.wat\0args\0{}\0")]);
    let ended = run(&[guest.path(), "--stdin", ":::", "in"]);
    assert_eq!(results(&ended), [&result("none\n")], "it has no arguments");
    let ended = run(&[guest.path(), "--stdin", "--", "cat", ":::", "--size", "{}"]);
    assert_eq!(results(&ended), [&result("--size\n"), &result("{}\n")]);
}

#[test]
fn a_dry_run_shows_the_stdin_of_each_input() {
    let guest = command();
    let dry = to_the_end(mpwasm().args([
        "run",
        "--dry-run",
        guest.path(),
        "--stdin",
        "--",
        "cat",
        ":::",
        "a \"b\"",
    ]));
    assert_eq!((dry.code, dry.stdout.lines().count()), (Some(0), 1), "{dry:#?}");
    let task: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(
        (&task["stdin"], &task["args"]),
        (&json!("a \"b\"\n"), &json!(["cat"]))
    );
    let ended = run_lines(&dry.stdout, &[guest.path()]);
    assert_eq!(results(&ended), [&result("a \"b\"\n")]);
}

#[test]
fn a_stdin_for_a_model_or_without_an_input_is_refused_before_anything_runs() {
    let (guest, lines, model) = (command(), TasksFile::new("[]\n"), &*format!("{}#echo", fixture()));
    let path = guest.path();
    for (args, words) in [
        (
            &[path, "--stdin"][..],
            "--stdin and --stdin-files are about inputs",
        ),
        (
            &[path, "--stdin", "--", "cat"],
            "--stdin and --stdin-files are about inputs",
        ),
        (&[path, "--stdin", "--tasks", lines.path()], "cannot be used with"),
        (&[path, "--stdin", "--args", "[]"], "cannot be used with"),
        (&[model, "--stdin", ":::", "a"], "only for command guests"),
        (&[model, "--stdin", "-a", lines.path()], "only for command guests"),
        (&[path, model, "--stdin", ":::", "a"], "several guests"),
    ] {
        let ended = run(args);
        assert_eq!(
            (ended.code, ended.records.len()),
            (Some(2), 0),
            "{args:?}: {ended:#?}"
        );
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn an_exit_code_and_a_trap_keep_what_was_written() {
    let ended = ran("[\"x3\"]\n[\"trap\"]\n[\"x0\"]\n", &[]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert_eq!(ended.column("status"), ["exit", "trap", "ok"]);
    let error = &ended.records[0]["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!(3), &json!("exit code 3"))
    );
    assert_eq!(
        error["data"],
        json!({"exit_code": 3, "stdout": "", "stderr": "to stderr\n"})
    );
    let error = &ended.records[1]["error"];
    assert_eq!(error["data"], json!({"stdout": "", "stderr": "to stderr\n"}));
    assert!(error["backtrace"][0].is_string(), "{error}");
}

#[test]
fn whatever_a_command_waits_for_it_ends_at_its_deadline_with_what_it_had_written() {
    // On a busy machine the deadline may pass before the command has started, or its process may be killed. Then there is
    // no output.
    retry_when_late(|| {
        let ended = ran(
            "[\"loop\"]\n[\"flood\"]\n",
            &["--timeout", "1s", "--max-output", "1000"],
        );
        assert_eq!(ended.column("status"), ["timeout", "timeout"], "{ended:#?}");
        assert_eq!(ended.stdout, "");
        let seen = [0, 1].map(|id: usize| {
            let record = &ended.records[id];
            (
                record["error"]["data"]["stdout"].clone(),
                record["output_truncated"].clone(),
            )
        });
        let expected = [
            (json!("ready\n"), json!(false)),
            (json!("none\n".repeat(200)), json!(true)),
        ];
        match seen == expected {
            true => Ok(()),
            false => Err(format!("{ended:#?}")),
        }
    });
}

#[test]
fn bytes_that_are_no_text_are_base64() {
    let ended = ran("[\"bytes\"]\n", &[]);
    let expected = json!({"exit_code": 0, "stdout_base64": "/xtbMkoA/wo=", "stderr": ""});
    assert_eq!(ended.records[0]["result"], expected, "{ended:#?}");
}

#[test]
fn a_folder_of_results_has_what_a_command_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "[\"args\",\"x\"]\n[\"x3\"]\n[\"bytes\"]\n[\"trap\"]\n";
    let ended = ran(lines, &["--results-dir", folder.path().to_str().unwrap()]);
    assert_eq!(ended.column("status"), ["ok", "exit", "ok", "trap"], "{ended:#?}");
    let read = |name: &str| std::fs::read(folder.path().join(name)).ok();
    assert_eq!(read("0/stdout").unwrap(), b"command.wat\0args\0x\0");
    assert_eq!(read("0/stderr"), None);
    assert_eq!(read("1/stdout"), None);
    assert_eq!(read("1/stderr").unwrap(), b"to stderr\n");
    assert_eq!(read("2/stdout").unwrap(), b"\xff\x1b[2J\0\xff\n");
    assert_eq!(read("3/stderr").unwrap(), b"to stderr\n");
}

#[test]
fn arguments_that_are_no_strings_and_a_stdin_for_a_model_are_invalid() {
    let ended = ran("[1]\n[\"args\",null]\n[\"a\\u0000b\"]\n[\"args\"]\n", &[]);
    assert_eq!(ended.column("status"), ["invalid", "invalid", "invalid", "ok"]);
    for (id, words) in [(0, "strings"), (1, "strings"), (2, "zero byte")] {
        let message = ended.records[id]["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(ended.records[0]["error"]["args"], json!([1]));

    let guest = command();
    let ended = run(&[guest.path(), "--args", "[1]"]);
    assert_eq!((ended.code, ended.records.len()), (Some(2), 0), "{ended:#?}");

    let model = format!("{}#echo", fixture());
    let ended = run_lines("{\"args\":[],\"stdin\":\"x\"}\n", &[&model]);
    let message = ended.records[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("only for command guests"), "{message}");
}

#[test]
fn args_and_stdin_together_are_held_to_the_limit_of_args() {
    let line = |bytes: usize| json!({"args": ["cat"], "stdin": "x".repeat(bytes)}).to_string();
    let ended = ran(format!("{}\n{}\n", line(450), line(500)), &["--max-args", "500"]);
    assert_eq!(ended.column("status"), ["ok", "invalid"], "{ended:#?}");
    let message = ended.records[1]["error"]["message"].as_str().unwrap();
    assert!(message.contains("--max-args"), "{message}");
}

#[test]
fn a_process_for_each_command_makes_no_difference() {
    let lines = "[\"x3\"]\n{\"args\":[\"cat\"],\"stdin\":\"in\"}\n[\"args\"]\n";
    let ended = ran(lines, &["--isolation", "process"]);
    assert_eq!(ended.column("status"), ["exit", "ok", "ok"], "{ended:#?}");
    assert_eq!(ended.records[1]["result"], result("in"));
}

#[test]
fn inspect_says_that_it_is_a_command() {
    let guest = command();
    let ended = to_the_end(mpwasm().args(["inspect", guest.path()]));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("\ncommand   _start"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("models"), "{}", ended.stdout);
    let ended = to_the_end(mpwasm().args(["inspect", "--json", guest.path()]));
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["is_command"], true);
}

#[test]
fn a_task_is_known_again_by_its_stdin_too() {
    let folder = tempfile::tempdir().unwrap();
    let (guest, log) = (command(), folder.path().join("log"));
    let run = |stdin: &str, how: &[&str]| {
        let tasks = folder.path().join("tasks");
        std::fs::write(&tasks, json!({"args": ["cat"], "stdin": stdin}).to_string()).unwrap();
        let mut command = mpwasm();
        command.args(["run", guest.path(), "--tasks"]).arg(tasks);
        to_the_end(command.arg("--results").arg(&log).args(how))
    };
    assert_eq!(run("one", &[]).code, Some(0));
    assert_eq!(run("one", &["--resume"]).code, Some(0));
    let other = run("two", &["--resume"]);
    assert_eq!(other.code, Some(2), "{other:#?}");
    assert!(other.stderr.contains("other tasks"), "{}", other.stderr);
}

#[test]
fn an_input_is_known_again_as_the_stdin_that_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (guest, log) = (command(), folder.path().join("log"));
    let run = |how: &[&str], inputs: &[&str]| {
        let mut command = mpwasm();
        command.args(["run", guest.path(), "--results"]).arg(&log);
        to_the_end(command.args(how).args(["--", "args", ":::"]).args(inputs))
    };
    assert_eq!(run(&["--stdin"], &["one"]).code, Some(0));
    let more = run(&["--stdin", "--resume"], &["one", "two"]);
    assert_eq!(more.code, Some(0), "{more:#?}");
    assert!(more.stderr.contains("1 task: 1 ok; 1 skipped"), "{}", more.stderr);
    for (how, inputs) in [
        (&["--resume"][..], &["one", "two"]),
        (&["--resume", "--stdin"], &["one", "other"]),
    ] {
        let other = run(how, inputs);
        assert_eq!(other.code, Some(2), "{other:#?}");
        assert!(other.stderr.contains("other tasks"), "{}", other.stderr);
    }
}
