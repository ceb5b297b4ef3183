//! The scratch directory of a task that is killed.

use mpwasm::{Source, TaskStatus};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::common::{builder, in_time, outcome, recorder};
use crate::support;

#[test]
fn nothing_is_left_of_a_task_that_was_ended_however_that_was() {
    let (recorder, record) = recorder();
    let pool = builder().size(1).tmp(1 << 20).reporter(recorder).start().unwrap();
    let files = pool.load(support::guest("files")).unwrap();
    let leaves = json!([
        ["open", "/tmp", "file", "write create excl"],
        ["fill", "@0", "100000"],
        ["deep", "/tmp", "folder", "100"],
        ["spin", "it is all there"],
    ]);
    for (status, killed) in [("cancelled", false), ("crash", true)] {
        let task = pool.submit(files.task(&leaves)).unwrap();
        record.wait_for_log(Source::Task(task.id()), "it is all there");
        match task.status() {
            Ok(TaskStatus::Running { pid, .. }) if killed => support::send(pid, Signal::SIGKILL),
            Ok(TaskStatus::Running { .. }) => task.cancel(),
            other => panic!("{other:?}"),
        }
        assert_eq!(outcome(&task).status(), status);
        let next = outcome(&pool.submit(files.task(json!([["list", "/tmp"]]))).unwrap());
        assert_eq!(next.result.unwrap().get(), r#"[""]"#);
    }
    in_time(move || pool.stop()).unwrap();
}
