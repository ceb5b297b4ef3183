//! Tests that read whole logs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::log_reader::LogReader;
use crate::report::BadLineReason;

/// Returns the report of these logs.
fn report_of<L: AsRef<[u8]>>(logs: &[(&str, L)]) -> Report {
    let mut reader = LogReader::with_longest(10_000);
    let mut aggregator = Aggregator::new(3);
    for (name, log) in logs {
        reader.read(name, log.as_ref(), &mut aggregator).unwrap();
    }
    aggregator.finish(reader.bad_lines())
}

/// Returns a record of a task that ran on worker 0 from `started` to `started + run`, with some fields replaced.
fn record(id: u64, started: u64, run: u64, fields: &Value) -> String {
    let mut record = json!({
        "id": id, "key": null, "model": "", "status": "ok", "result": {"a": [1, "x"]}, "attempts": 1, "worker": 0, "pid": 7,
        "started_us": started, "queued_us": 10, "run_us": run, "cpu_us": run / 2, "memory_peak": 65536,
        "stdout_bytes": 0, "output_truncated": false, "callback": "none", "guest": "00", "task": "00"
    });
    for (name, value) in fields.as_object().unwrap() {
        record[name] = value.clone();
    }
    format!("{record}\n")
}

fn failed(id: u64, kind: &str, message: &str) -> String {
    let error = json!({"kind": kind, "message": message, "args": [1], "id": id, "attempt": 1, "backtrace": ["f @ 0x1", "g @ 0x2"]});
    record(id, 1_000_000 + id, 1, &json!({"status": kind, "error": error}))
}

#[test]
fn a_report_has_the_counts_and_times_of_a_run() {
    let log: String = (0..100)
        .map(|n| record(n, 1_000_000 + 1000 * n, 10 * (n + 1), &json!({})))
        .collect();
    let report = report_of(&[("a", log + &failed(100, "timeout", "late"))]);
    assert_eq!(
        (report.tasks.total, report.tasks.ok, report.tasks.failed),
        (101, 100, 1)
    );
    assert_eq!(report.tasks.by_status["timeout"], 1);
    assert_eq!(
        report.run_us.p50, 500,
        "of 101 values, with that of the failed task below it"
    );
    assert_eq!(
        (report.run_us.p90, report.run_us.p99, report.run_us.max),
        (900, 990, 1000)
    );
    assert_eq!(report.run_us.count, 101);
    let time = report.time.unwrap();
    assert_eq!((time.first_us, time.last_us), (999_990, 1_100_000));
    assert_eq!(time.wall_us, 100_010);
    let throughput = report.throughput.unwrap();
    assert_eq!(
        throughput
            .intervals
            .iter()
            .map(|interval| interval.ended)
            .sum::<u64>(),
        101
    );
    assert_eq!(
        throughput
            .intervals
            .iter()
            .map(|interval| interval.failed)
            .sum::<u64>(),
        1
    );
    let slowest: Vec<_> = report.slowest.iter().map(|task| task.id.0).collect();
    assert_eq!(slowest, [99, 98, 97]);
    assert_eq!(report.largest_output, []);
}

#[test]
fn failures_with_the_same_cause_are_one_group() {
    let log = [
        failed(0, "error", "no item 1 in \"a\""),
        failed(1, "error", "no item 22 in \"b\""),
        failed(2, "trap", "no item 3 in \"c\""),
        record(3, 0, 0, &json!({"callback": "trap", "key": "k"})),
    ];
    let report = report_of(&[("a", log.concat())]);
    assert_eq!(report.failures.groups_total, 2);
    let group = &report.failures.groups[0];
    assert_eq!((group.kind, group.count), ("error", 2));
    assert_eq!(group.pattern.as_deref(), Some("no item <n> in \"<text>\""));
    assert_eq!((group.example.id.0, group.example.line), (0, 1));
    assert_eq!(
        (&*group.message, group.frame.as_deref()),
        ("no item 1 in \"a\"", Some("f @ 0x1"))
    );
    assert_eq!(report.tasks.failed, 3);
    assert_eq!(
        (report.callbacks.failed, report.callbacks.by_kind["trap"]),
        (1, 1)
    );
    assert_eq!(report.callbacks.first_failed[0].key.as_deref(), Some("k"));
}

#[test]
fn retries_count_attempts_and_the_time_of_their_workers() {
    let tried = json!([
        {"attempt": 1, "kind": "crash", "message": "x", "worker": 1, "pid": 8, "run_us": 500},
        {"attempt": 2, "kind": "timeout", "message": "y", "worker": 1, "pid": 9, "run_us": 500},
    ]);
    let log = record(
        0,
        10_000,
        990,
        &json!({"attempts": 3, "tried": tried, "queued_us": 1010}),
    );
    let report = report_of(&[("a", log)]);
    assert_eq!(
        (
            report.retries.tasks,
            report.retries.attempts,
            report.retries.succeeded
        ),
        (1, 2, 1)
    );
    assert_eq!(
        report.retries.by_kind,
        BTreeMap::from([("crash", 1), ("timeout", 1)])
    );
    let [first, second] = &report.workers[..] else {
        panic!("{report:#?}")
    };
    assert_eq!((first.tasks, first.processes, first.busy_us), (1, 1, 990));
    assert_eq!((second.tasks, second.processes, second.busy_us), (0, 2, 1000));
    assert_eq!(second.busy_share, Some(0.5));
}

#[test]
fn tasks_of_several_logs_with_equal_ids_are_different_tasks() {
    let log = |started| record(0, started, 10, &json!({}));
    let report = report_of(&[("b", log(2_000_000)), ("a", log(1_000_000))]);
    assert_eq!(report.tasks.total, 2);
    let names: Vec<_> = report.logs.iter().map(|log| (&*log.name, log.records)).collect();
    assert_eq!(names, [("a", 1), ("b", 1)]);
    assert_eq!(report.workers.len(), 2);
    assert_eq!(report.logs[0].time.unwrap().first_us, 999_990);
}

#[test]
fn records_without_start_times_have_no_throughput() {
    let report = report_of(&[("a", record(0, 0, 10, &json!({"started_us": null})))]);
    assert_eq!((report.time, &report.throughput), (None, &None));
    assert_eq!((report.run_us.count, report.workers[0].busy_share), (1, None));
}

#[test]
fn tasks_that_no_worker_began_are_counted_only() {
    let null = json!({"worker": null, "pid": null, "started_us": null, "queued_us": null, "run_us": null, "cpu_us": null,
        "memory_peak": null, "status": "cancelled"});
    let report = report_of(&[("a", record(0, 0, 0, &null))]);
    assert_eq!((report.tasks.total, report.tasks.ran), (1, 0));
    assert_eq!(report.run_us, Distribution::default());
    assert_eq!(report.workers, []);
}

#[test]
fn a_line_that_is_no_record_is_named_and_harms_no_other() {
    let good = record(1, 0, 0, &json!({}));
    let mut log = b"\xef\xbb\xbf".to_vec();
    for part in [
        good.as_bytes(),
        b"\n  \r\n",
        b"\xff\xfe\n",
        b"{\"id\":\0}\n",
        b"{\"id\":1,\"status\":\"ok\"}\n",
        b"[1,2]\n",
        format!("{}\n", "x".repeat(20_000)).as_bytes(),
        good.as_bytes(),
        &good.as_bytes()[..40],
    ] {
        log.extend_from_slice(part);
    }
    let report = report_of(&[("a", log)]);
    assert_eq!(report.tasks.total, 2);
    let BadLines {
        total,
        too_long,
        not_utf8,
        not_json,
        not_record,
        torn,
        ..
    } = report.bad_lines;
    assert_eq!(
        (total, too_long, not_utf8, not_json, not_record, torn),
        (6, 1, 1, 1, 2, 1)
    );
    let first: Vec<_> = report
        .bad_lines
        .first
        .iter()
        .map(|line| (line.line, line.reason))
        .collect();
    use BadLineReason::{NotJson, NotRecord, NotUtf8, TooLong, Torn};
    assert_eq!(
        first,
        [
            (4, NotUtf8),
            (5, NotJson),
            (6, NotRecord),
            (7, NotRecord),
            (8, TooLong),
            (10, Torn)
        ]
    );
}

#[test]
fn a_last_record_without_a_newline_is_whole() {
    let log = record(1, 0, 0, &json!({}));
    let report = report_of(&[("a", log.trim_end())]);
    assert_eq!((report.tasks.total, report.bad_lines.total), (1, 0));
}

#[test]
fn absurd_figures_do_no_harm() {
    let most = u64::MAX;
    let absurd = json!({"queued_us": most, "run_us": most, "cpu_us": most, "memory_peak": most, "stdout_bytes": most,
        "worker": u32::MAX, "attempts": u32::MAX, "id": most});
    let log = [record(0, most, 0, &absurd), record(0, 0, 0, &absurd)].concat();
    let report = report_of(&[("a", log)]);
    assert_eq!(report.tasks.total, 2);
    assert!(report.time.is_some() && report.throughput.is_some());
    serde_json::to_string(&report).unwrap();
}

#[test]
fn endless_different_messages_take_bounded_memory() {
    let word = |n: u32| {
        (0..6)
            .map(|digit| char::from(b'g' + (n >> (4 * digit)) as u8 % 16))
            .collect::<String>()
    };
    let log: String = (0..5000).map(|n| failed(n.into(), "error", &word(n))).collect();
    let report = report_of(&[("a", log)]);
    assert_eq!(report.failures.groups_total, 2001);
    assert_eq!(
        (
            &report.failures.groups[0].pattern,
            report.failures.groups[0].count
        ),
        (&None, 3000)
    );
}

/// Some records of one log, and lines that are none.
fn any_log() -> impl Strategy<Value = String> {
    let line = (0..4_u64, 0..2_000_000_000_u64, 0..1000_u64, 0..4_u32, 0..7_u32).prop_map(
        |(id, started, run, worker, form)| {
            let fields = match form {
                0 => return failed(id, "error", &format!("item {run}")),
                1 => return failed(id, "crash", ["a", "b", "c"][worker as usize % 3]),
                2 => return format!("{{\"torn\":{run}\n"),
                3 => json!({"callback": "trap", "worker": worker}),
                4 => json!({"attempts": 2, "worker": worker, "tried": [
                {"attempt": 1, "kind": "crash", "message": "x", "worker": 3, "pid": run, "run_us": run}]}),
                _ => json!({"worker": worker, "stdout_bytes": run, "memory_peak": run, "pid": id}),
            };
            record(id, started, run, &fields)
        },
    );
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_logs_does_not_matter(logs in proptest::collection::vec(any_log(), 1..5), rotation in 0..5_usize) {
        let names = ["a", "b", "c", "d", "e"];
        let mut logs: Vec<_> = names.into_iter().zip(logs).collect();
        let report = report_of(&logs);
        let rotation = rotation % logs.len();
        logs.rotate_left(rotation);
        prop_assert_eq!(&report, &report_of(&logs));
        logs.reverse();
        prop_assert_eq!(&report, &report_of(&logs));
    }

    #[test]
    fn no_bytes_are_fatal(log in proptest::collection::vec(any::<u8>(), 0..500)) {
        report_of(&[("a", log)]);
    }
}
