//! Prints the status of a run on SIGUSR1.

use std::time::Duration;

use mpwasm::{Kind, Pool, Stats, Status, TaskWait, WorkerState, WorkerStatus};

use crate::terminal::stdio;

/// Prints the state of the pool and of each worker on stderr.
pub fn print(pool: &Pool) {
    let stats = pool.stats();
    match pool.status() {
        Ok(status) => {
            stdio::try_print_message(&overview(&stats, Some(&status)));
            for worker in &status.workers {
                stdio::try_print_message(&line(worker));
            }
        }
        Err(error) => {
            stdio::try_print_message(&overview(&stats, None));
            stdio::try_print_message(&error.to_string());
        }
    }
}

fn overview(stats: &Stats, status: Option<&Status>) -> String {
    let failed = Kind::ALL.map(|kind| (kind.as_str(), stats.failed(kind)));
    let ended = [("ok", stats.ok)].into_iter().chain(failed);
    let now = status.map(|status| {
        [
            ("running", status.running()),
            ("queued", status.queued),
            ("waiting to be tried again", status.paused),
            ("waiting for callbacks", status.callbacks),
        ]
    });
    let counts = ended.chain(now.into_iter().flatten());
    let counts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    match counts.is_empty() {
        true => "no tasks so far".to_owned(),
        false => format!("{} tasks so far: {}", stats.accepted, counts.join(", ")),
    }
}

fn line(status: &WorkerStatus) -> String {
    let WorkerStatus {
        worker,
        pid,
        state,
        since,
        wait,
    } = status;
    let doing = match state {
        WorkerState::Starting => "starting".to_owned(),
        WorkerState::Idle => "idle".to_owned(),
        WorkerState::Running { task, attempt: 1 } => format!("running task {task}"),
        WorkerState::Running { task, attempt } => format!("running task {task}, attempt {attempt},"),
        WorkerState::Stalled => "not taking what it is offered".to_owned(),
        WorkerState::Leaving => "exiting".to_owned(),
        WorkerState::Killed => "killed, and not gone".to_owned(),
    };
    let since = humantime::format_duration(millis(*since));
    format!(
        "worker {worker} (pid {pid}): {doing} for {since}{}",
        waiting(wait.as_ref())
    )
}

/// Returns what a task waits for, if it waits for a shared object.
fn waiting(wait: Option<&TaskWait>) -> String {
    let Some(TaskWait {
        kind,
        object,
        operation,
        since,
    }) = wait
    else {
        return String::new();
    };
    let since = humantime::format_duration(millis(*since));
    format!("; waiting for {kind} `{object}` ({operation}) for {since}")
}

/// Rounds a duration to milliseconds.
fn millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm::{TaskId, WorkerNumber};

    #[test]
    fn a_line_says_what_a_worker_is_doing_and_for_how_long() {
        let status = |state| {
            line(&WorkerStatus {
                worker: WorkerNumber(1),
                pid: 4711,
                state,
                since: Duration::from_micros(61_250_900),
                wait: None,
            })
        };
        let running = |attempt| {
            status(WorkerState::Running {
                task: TaskId(7),
                attempt,
            })
        };
        assert_eq!(running(1), "worker 1 (pid 4711): running task 7 for 1m 1s 250ms");
        assert_eq!(
            running(2),
            "worker 1 (pid 4711): running task 7, attempt 2, for 1m 1s 250ms"
        );
        assert_eq!(
            status(WorkerState::Idle),
            "worker 1 (pid 4711): idle for 1m 1s 250ms"
        );
    }

    #[test]
    fn the_overview_names_what_there_is() {
        assert_eq!(overview(&Stats::default(), None), "no tasks so far");
        let mut stats = Stats::default();
        (stats.accepted, stats.ok) = (9, 2);
        assert_eq!(overview(&stats, None), "9 tasks so far: 2 ok");
        let status = Status {
            queued: 3,
            paused: 4,
            ..Status::default()
        };
        assert_eq!(
            overview(&stats, Some(&status)),
            "9 tasks so far: 2 ok, 3 queued, 4 waiting to be tried again"
        );
    }
}
