//! The demo of the README: five workers and ten tasks, about half of which time out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::completed::{CompletedRun, run};
use crate::support::{assert_each_id_once, guest, retry_when_late};

/// Returns the pids in the lines with this beginning.
fn pids(ended: &CompletedRun, beginning: &str) -> BTreeSet<u64> {
    let rest = ended
        .prints()
        .into_iter()
        .filter_map(|line| line.strip_prefix(beginning));
    rest.map(|rest| rest.split(':').next().unwrap().parse().unwrap())
        .collect()
}

/// Returns whether more than two of the tasks ran at a time, on average, of which five can.
fn run_beside_each_other(records: &[Value]) -> bool {
    let time = |record: &Value, field: &str| record[field].as_u64().unwrap();
    let ran: u64 = records.iter().map(|record| time(record, "run_us")).sum();
    let begins = records.iter().map(|record| time(record, "started_us"));
    let ends = records
        .iter()
        .map(|record| time(record, "started_us") + time(record, "run_us"));
    ran > 2 * (ends.max().unwrap() - begins.min().unwrap())
}

#[test]
fn the_demo_runs_ten_tasks_in_five_workers_and_their_callbacks_in_a_sixth_process() {
    // Only on an idle machine does every worker get a task and print in time, do that many run at a time, and is a worker
    // replaced only if it did not end its task in time.
    retry_when_late(|| {
        let demo = run(&["--size", "5", guest("demo").to_str().unwrap()]);
        assert_each_id_once(&demo.records, 10);
        let statuses = demo.column("status");
        assert!(
            statuses.iter().all(|status| ["ok", "timeout"].contains(status)),
            "{demo:#?}"
        );
        let failed = statuses.contains(&"timeout");
        assert_eq!(demo.code, Some(i32::from(failed)), "{demo:#?}");
        assert!(
            demo.column("callback").iter().all(|callback| *callback == "ok"),
            "{demo:#?}"
        );
        for (i, record) in demo.records.iter().enumerate() {
            let args = serde_json::json!([{"test": i}, {"error": i}]);
            assert_eq!(
                if record["status"] == "ok" {
                    &record["result"]
                } else {
                    &record["error"]["args"]
                },
                &args
            );
        }

        let slots: BTreeSet<_> = demo
            .records
            .iter()
            .map(|record| record["worker"].as_u64().unwrap())
            .collect();
        assert!(slots.iter().all(|slot| *slot < 5), "{slots:?}");
        let workers: BTreeSet<_> = demo
            .records
            .iter()
            .map(|record| record["pid"].as_u64().unwrap())
            .collect();
        let seen = pids(&demo, "runnable in process ");
        assert!(seen.is_subset(&workers), "the guest sees where it runs");

        let callbacks = &pids(&demo, "callback in process ") | &pids(&demo, "error_callback in process ");
        assert_eq!(callbacks.len(), 1, "{callbacks:?}");
        assert!(callbacks.is_disjoint(&workers));
        assert!(
            !callbacks.contains(&u64::from(demo.pid)),
            "the parent runs no code of guests"
        );
        let lines = demo
            .prints()
            .iter()
            .filter(|line| line.contains("callback in process"))
            .count();
        assert_eq!(lines, 10);

        let replaced = workers.len() - slots.len();
        let late = statuses.iter().filter(|status| **status == "timeout").count();
        let good =
            run_beside_each_other(&demo.records) && slots.len() == 5 && replaced <= late && seen == workers;
        good.then_some(()).ok_or_else(|| format!("{demo:#?}"))
    });
}
