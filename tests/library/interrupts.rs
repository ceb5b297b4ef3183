//! `Builder::interrupt`: how tasks and commands are stopped.

use std::time::Duration;

use mpwasm::command::Command;
use mpwasm::{Interrupt, Kind, Source, TaskId};

use crate::children::TOOL;
use crate::common::{LONG, builder, in_time, outcome, recorded, task};

/// The choices with code that has no checks.
pub const UNCHECKED: &[Interrupt] = match cfg!(target_arch = "x86_64") {
    true => &[Interrupt::Signal, Interrupt::Kill],
    false => &[Interrupt::Kill],
};

#[test]
fn a_task_that_runs_without_checks_can_be_cancelled() {
    for &how in UNCHECKED {
        let (pool, guest, record) = recorded(builder().interrupt(how).size(1));
        for model in ["spin", "sleep"] {
            let handle = pool.submit(task(&guest, model)).unwrap();
            record.wait_until_running(&[&handle]);
            handle.cancel();
            let ended = outcome(&handle);
            assert_eq!(ended.result.unwrap_err().kind, Kind::Cancelled, "{model}");
            let next = outcome(&pool.submit(guest.task([1])).unwrap());
            assert_eq!(next.status(), "ok", "{model}");
        }
    }
}

/// Items of a chunk that ended before one that is stopped keep their results, and those behind it run.
#[test]
fn an_item_of_a_chunk_that_is_stopped_takes_no_other_along() {
    for &how in UNCHECKED {
        let (pool, guest, record) =
            recorded(builder().interrupt(how).size(1).timeout(Duration::from_secs(2)));
        let count = guest.model("count").unwrap();
        // The second item reports that it runs, and the third never ends.
        let results = pool.map(&count, [1, 7, 5, 1, 1]).unwrap().chunk_size(5);
        let ended = in_time(move || results.collect::<Vec<_>>());
        record.wait_for_log(Source::Task(TaskId(1)), "running");
        let results = ended.iter().map(|outcome| match outcome.parse::<u64>() {
            Ok(calls) => calls.to_string(),
            Err(error) => error.kind.to_string(),
        });
        assert_eq!(results.collect::<Vec<_>>(), ["1", "2", "timeout", "1", "2"]);
        let pids: Vec<_> = ended.iter().map(|outcome| outcome.usage.pid.unwrap()).collect();
        assert_eq!(pids[..2], [pids[2]; 2]);
    }
}

#[test]
fn a_command_without_checks_is_stopped_at_its_timeout_and_when_it_is_killed() {
    for &how in UNCHECKED {
        let tool = builder()
            .interrupt(how)
            .load_bytes("tool", TOOL.as_bytes())
            .unwrap();
        let spinning = |timeout| Command::new(&tool).arg("loop").timeout(timeout);
        let soon = spinning(Duration::from_millis(200));
        let status = in_time(move || soon.status().unwrap());
        assert_eq!(status.kind(), Some(Kind::Timeout), "{status:?}");
        let mut child = spinning(LONG).spawn().unwrap();
        child.kill();
        let status = in_time(move || child.wait());
        assert_eq!(status.kind(), Some(Kind::Cancelled), "{status:?}");
    }
}

#[test]
fn a_pool_starts_with_signals_on_x86_64_only() {
    let started = builder().interrupt(Interrupt::Signal).start();
    match started {
        Ok(pool) => pool.stop().unwrap(),
        Err(error) => assert!(error.to_string().contains("epoch or kill"), "{error}"),
    }
    assert_eq!(Interrupt::Signal.is_supported(), cfg!(target_arch = "x86_64"));
}
