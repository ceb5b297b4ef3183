//! `guests/sharing`: what the examples of Python's `multiprocessing` do with shared objects, done by tasks of a run.

use serde_json::{Value, json};

use crate::completed::{CompletedRun, run_lines};
use crate::support::guest;

/// Refers to the object with this name, in the args of a task.
fn object(name: &str) -> Value {
    json!({"object": name})
}

/// A task of one of the guest's models.
fn task(model: &str, args: Value) -> String {
    format!("{}\n", json!({"model": model, "args": args}))
}

/// What a run of the guest left, and the contents of its objects.
struct SharingRun {
    ended: CompletedRun,
    contents: Value,
}

impl SharingRun {
    /// Runs these tasks with these objects.
    fn new(objects: &[&str], tasks: &[String], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("objects.json");
        let mut args = vec![guest("sharing").to_str().unwrap()];
        for object in objects {
            args.extend(["--object", object]);
        }
        args.extend(["--objects-out", out.to_str().unwrap()]);
        args.extend(options);
        let ended = run_lines(tasks.concat(), &args);
        let contents = std::fs::read(&out).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
        let contents = serde_json::from_slice(&contents).unwrap();
        Self { ended, contents }
    }

    /// Returns the result of a task. All tasks must have succeeded.
    fn result(&self, task: usize) -> &Value {
        assert_eq!(self.ended.code, Some(0), "{:#?}", self.ended);
        &self.ended.records[task]["result"]
    }
}

#[test]
fn two_tasks_talk_over_a_duplex_pipe() {
    let tasks = [
        task("ask", json!([object("talk.0"), ["who?", "why?"]])),
        task("answer", json!([object("talk.1")])),
    ];
    let run = SharingRun::new(&["talk=pipe"], &tasks, &["--size", "2"]);
    assert_eq!(*run.result(0), json!(["who!", "why!"]));
    assert_eq!(*run.result(1), 2);
}

#[test]
fn a_one_way_pipe_has_an_end_that_only_receives() {
    let tasks = [
        task("receive", json!([object("line.0")])),
        task("send", json!([object("line.1"), [3, 1, 2]])),
    ];
    let run = SharingRun::new(&["line=pipe:one-way"], &tasks, &["--size", "2"]);
    assert_eq!(*run.result(0), json!([3, 1, 2]));
}

#[test]
fn the_fourth_item_does_not_fit_into_a_queue_of_three() {
    let tasks = [task("fill", json!([object("few"), 20]))];
    let run = SharingRun::new(&["few=queue:3"], &tasks, &[]);
    let said = json!({
        "puts": ["ok", "ok", "ok", "queue `few`: put: full"],
        "qsize": 3,
        "full": true,
        "empty": false,
    });
    assert_eq!(*run.result(0), said);
    assert_eq!(run.contents, json!({"few": ["first", "second", "third"]}));
}

#[test]
fn a_consumer_asks_whether_the_queue_is_empty_and_tries_again() {
    let tasks = [
        task("consume", json!([object("numbers"), 20, 100_000])),
        task("produce", json!([object("numbers"), 20, 1])),
    ];
    let run = SharingRun::new(&["numbers=queue"], &tasks, &["--size", "2"]);
    assert_eq!(*run.result(0), json!((0..20).collect::<Vec<_>>()));
    assert_eq!(run.contents, json!({"numbers": []}));
}

#[test]
fn a_task_can_refer_to_a_queue_by_its_name() {
    // Nobody closes the queue, so the task gets what is there and then waits until its deadline.
    let tasks = [
        task("produce", json!([object("numbers"), 3, 0])),
        task("consume_by_name", json!([])),
    ];
    let options = ["--size", "1", "--timeout", "2s"];
    let run = SharingRun::new(&["numbers=queue"], &tasks, &options);
    assert_eq!(run.ended.column("status"), ["ok", "timeout"], "{:#?}", run.ended);
    assert_eq!(run.contents, json!({"numbers": []}));
}

#[test]
fn a_wait_ends_at_the_deadline_and_the_worker_lives_on() {
    let waits = task("consume_by_name", json!([]));
    let tasks = [
        waits.clone(),
        waits,
        task("produce", json!([object("numbers"), 1, 0])),
    ];
    for interrupt in ["epoch", "signal", "kill"] {
        let options = [
            "--size",
            "1",
            "--timeout",
            "300ms",
            "--max-waiting",
            "0",
            "--interrupt",
            interrupt,
        ];
        let run = SharingRun::new(&["numbers=queue"], &tasks, &options);
        assert_eq!(
            run.ended.column("status"),
            ["timeout", "timeout", "ok"],
            "{:#?}",
            run.ended
        );
        let pids: Vec<_> = run.ended.records.iter().map(|record| &record["pid"]).collect();
        assert_eq!(pids, [pids[0]; 3], "{interrupt}: {:#?}", run.ended);
    }
}

#[test]
fn no_increment_of_five_tasks_is_lost() {
    for (model, times) in [("increment", 1000), ("increment_with_lock", 40)] {
        let increment = task(model, json!([object("total"), times]));
        let run = SharingRun::new(&["total=value:i64"], &vec![increment; 5], &["--size", "5"]);
        assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
        assert_eq!(run.contents, json!({"total": 5 * times}));
    }
}

#[test]
fn two_tasks_change_a_float_and_an_array() {
    let change = |more: i32| task("change", json!([object("sum"), object("all"), more]));
    let objects = ["sum=value:f64", "all=array:i32:4"];
    let run = SharingRun::new(&objects, &[change(3), change(-10)], &["--size", "2"]);
    assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
    assert_eq!(run.contents, json!({"all": [-7, -7, -7, -7], "sum": -3.5}));
}

#[test]
fn a_pool_collects_in_a_dict_and_a_list() {
    let collect = |number: u64| task("collect", json!([object("squares"), object("numbers"), number]));
    let tasks: Vec<_> = (0..10).map(collect).collect();
    let run = SharingRun::new(&["squares=dict", "numbers=list"], &tasks, &["--size", "3"]);
    assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
    let mut numbers: Vec<u64> = serde_json::from_value(run.contents["numbers"].clone()).unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    let squares = run.contents["squares"].to_string();
    for number in 0..10 {
        assert!(squares.contains(&(number * number).to_string()), "{squares}");
    }
}

#[test]
fn counts_in_a_dict_are_not_lost_with_a_lock_or_with_add() {
    let locked = task("count_with_lock", json!([object("lock"), object("counts"), 25]));
    let run = SharingRun::new(&["lock=lock", "counts=dict"], &vec![locked; 4], &["--size", "4"]);
    assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
    assert_eq!(run.contents, json!({"counts": {"count": 100}}));

    let words = task("count", json!([object("counts"), "a b a c a"]));
    let run = SharingRun::new(&["counts=dict"], &vec![words; 4], &["--size", "2"]);
    assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
    assert_eq!(run.contents, json!({"counts": {"a": 12, "b": 4, "c": 4}}));
}

#[test]
fn an_item_of_a_joinable_queue_goes_to_another_task_when_the_one_that_took_it_fails() {
    let work = task("work", json!([object("jobs"), object("done")]));
    let items = ["a", "fail", "b", "c"];
    let tasks = [work.clone(), work, task("join", json!([object("jobs"), items]))];
    let options = ["--size", "3", "--retries", "1", "--retry-on", "error"];
    let run = SharingRun::new(&["jobs=joinable-queue", "done=list"], &tasks, &options);
    assert_eq!(run.ended.code, Some(0), "{:#?}", run.ended);
    let mut done: Vec<String> = serde_json::from_value(run.contents["done"].clone()).unwrap();
    done.sort();
    assert_eq!(done, ["a", "b", "c", "fail"]);
    let attempts: u64 = run
        .ended
        .records
        .iter()
        .map(|record| record["attempts"].as_u64().unwrap())
        .sum();
    assert!(attempts > 3, "a task has failed: {:#?}", run.ended);
}
