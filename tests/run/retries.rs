//! `--retries` and related options: which tasks are retried, and what their records contain.

use serde_json::{Value, json};

use crate::completed::{CompletedRun, GuestFile, fixture, line, run, run_lines};

/// Runs the guest whose first two attempts print and trap.
fn attempts(options: &[&str]) -> CompletedRun {
    let guest = GuestFile::wat(crate::support::ATTEMPTS);
    // With one worker the index is known.
    let tasks = ["--size", "1", "--args", "[]", guest.path()];
    run(&[options, &tasks].concat())
}

#[test]
fn a_task_is_tried_again_and_its_one_record_tells_of_each_attempt() {
    let ended = attempts(&[
        "--retries",
        "2",
        "--retry-on",
        "timeout,trap",
        "--backoff",
        "1ms..4ms~50%",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(
        ended.prints(),
        ["try", "try"],
        "the line of an attempt ends with it"
    );
    let [record] = &ended.records[..] else {
        panic!("{ended:#?}")
    };
    assert_eq!((&record["status"], &record["result"]), (&json!("ok"), &json!(3)));
    assert_eq!(
        (&record["attempts"], &record["callback"]),
        (&json!(3), &json!("ok"))
    );
    let tried = record["tried"].as_array().unwrap();
    assert_eq!(tried.len(), 2);
    for (attempt, number) in tried.iter().zip(1..) {
        assert_eq!(
            (&attempt["attempt"], &attempt["kind"]),
            (&json!(number), &json!("trap"))
        );
        assert!(
            attempt["message"].as_str().unwrap().contains("unreachable"),
            "{attempt}"
        );
        assert_eq!(attempt["worker"], 0);
        assert!(attempt["pid"].is_u64() && attempt["run_us"].is_u64(), "{attempt}");
    }
    let place = |field: &str| ended.lines[0].find(&format!("\"{field}\":")).unwrap();
    assert!(place("attempts") < place("tried") && place("tried") < place("worker"));
}

#[test]
fn what_the_guest_did_is_not_tried_again_unasked() {
    for options in [
        &[][..],
        &["--retries", "5"],
        &["--retries", "5", "--retry-on", "timeout,exit"],
    ] {
        let ended = attempts(options);
        assert_eq!(ended.code, Some(1));
        let record = &ended.records[0];
        assert_eq!(
            (&record["status"], &record["attempts"]),
            (&json!("trap"), &json!(1))
        );
        assert_eq!(record["error"]["attempt"], 1);
        assert_eq!(record.get("tried"), None, "{record}");
    }
}

#[test]
fn the_record_is_of_the_last_attempt() {
    let ended = attempts(&["--retries", "1", "--retry-on", "trap"]);
    assert_eq!(ended.code, Some(1));
    let record = &ended.records[0];
    assert_eq!(
        (&record["attempts"], &record["error"]["attempt"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(record["tried"].as_array().map(Vec::len), Some(1));
}

#[test]
fn every_kind_that_can_be_tried_again_is() {
    let bad = [
        ("error", "fail", "[\"no\"]"),
        ("timeout", "sleep", "[60000]"),
        ("trap", "trap", "[]"),
        ("exit", "exit", "[7]"),
        ("memory", "hog", "[]"),
        ("fuel", "spin", "[]"),
        ("limit", "big", "[2000000]"),
    ];
    let lines: String = bad
        .iter()
        .map(|(kind, model, args)| {
            let timeout = if *kind == "timeout" { "200ms" } else { "100s" };
            format!(
                "{{\"key\":\"{kind}\",\"model\":\"{model}\",\"args\":{args},\"timeout\":\"{timeout}\"}}\n"
            )
        })
        .collect();
    let options = [
        "--retries",
        "1",
        "--retry-on",
        "error,timeout,trap,exit,memory,fuel,limit",
    ];
    let limits = [
        "--memory",
        "16MiB",
        "--fuel",
        "100000000",
        "--max-result",
        "1MiB",
        "--size",
        "2",
    ];
    let ended = run_lines(
        lines + &line("well", "noop", "[]"),
        &[&[fixture()], &options[..], &limits].concat(),
    );
    for (kind, ..) in bad {
        let record = ended.record(kind);
        assert_eq!(
            (&record["status"], &record["attempts"]),
            (&json!(kind), &json!(2)),
            "{record}"
        );
        assert_eq!(record["tried"][0]["kind"], kind);
    }
    assert_eq!(ended.record("well")["attempts"], 1);
}

#[test]
fn what_is_no_task_is_not_tried() {
    let options = ["--retries", "3", "--retry-on", "error,trap"];
    let ended = run_lines("nonsense\n", &[&[fixture()], &options[..]].concat());
    assert_eq!(ended.column("status"), ["invalid"]);
    assert_eq!(
        (&ended.records[0]["attempts"], ended.records[0].get("tried")),
        (&json!(1), None::<&Value>)
    );
}
