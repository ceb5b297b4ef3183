//! The scratch directory, when its task does not come to its own end.

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
    let ways: [(&str, &dyn Fn(&mpwasm::TaskHandle, u32)); 2] = [
        ("cancelled", &|task, _| task.cancel()),
        ("crash", &|_, worker| support::send(worker, Signal::SIGKILL)),
    ];
    for (status, end) in ways {
        let task = pool.submit(files.task(&leaves)).unwrap();
        record.wait_for_log(Source::Task(task.id()), "it is all there");
        let Ok(TaskStatus::Running { pid, .. }) = task.status() else {
            panic!("{:?}", task.status())
        };
        end(&task, pid);
        assert_eq!(outcome(&task).status(), status);
        let next = outcome(&pool.submit(files.task(json!([["list", "/tmp"]]))).unwrap());
        assert_eq!(next.result.unwrap().get(), r#"[""]"#);
    }
    in_time(move || pool.stop()).unwrap();
}
