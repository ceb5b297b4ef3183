//! The task thread: claims offers in order, runs their tasks and reports how they ended.
//!
//! A short task costs no system call besides those of the engine for a fresh instance. Frames are read and written in
//! batches. The watchdog is woken only if it would sleep past the deadline. CPU time is derived from the monotonic clock
//! ([`Meter`]).

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::meter::Meter;
use super::shared::SharedWorkerState;
use mpwasm_engine::{Call, CallReport, Executor, Export};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::{CallResult, FromWorker, ResourceUsage, ToWorker};
use mpwasm_protocol::page::SharedPage;
use mpwasm_sandbox::child::EXIT_FAILURE;
use mpwasm_sandbox::cpu_affinity::CpuAffinity;
use mpwasm_sandbox::cpu_limit::CpuLimit;
use mpwasm_sandbox::scratch::ScratchDir;
use mpwasm_system::clock;
use mpwasm_system::clock::thread_cpu;
use mpwasm_system::poll::poll_until;
use mpwasm_system::process::exit_now;
use mpwasm_types::ids::TaskId;
use mpwasm_types::items;
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::task::TaskInput;
use mpwasm_types::time::Time;
use nix::poll::{PollFd, PollFlags};

/// Time without a task after which a worker gives the memory of its tasks back to the kernel: 1 s. The pages of the next task cost
/// some milliseconds then.
const RESIDENT_MEMORY_TIMEOUT: Duration = Duration::from_secs(1);

/// Least CPU time of a task whose result is flushed immediately: 100 µs, beside which the cost of a system call is
/// negligible. Results of shorter tasks are batched. A worker that is killed loses at most a batch of these.
const MIN_CPU_TO_FLUSH: Duration = Duration::from_micros(100);
/// Least elapsed time of a task whose result is flushed immediately: 1 ms. It is longer than most time slices of other
/// threads, so that a short task that was descheduled is still batched.
const MIN_WALL_TO_FLUSH: Duration = Duration::from_millis(1);

/// Runs the tasks that arrive on `channel` until the dispatcher closes it, then exits the process.
pub fn run(
    mut channel: Channel,
    page: &'static SharedPage,
    mut executor: Executor,
    shared: &SharedWorkerState,
    cpu_affinity: &CpuAffinity,
    mut cpu_limit: CpuLimit,
    scratch: &ScratchDir,
) {
    executor
        .accept_signals()
        .unwrap_or_else(|error| shared.unable(&error.into()));
    let mut meter = Meter::new(thread_cpu);
    let mut tasks = 0;
    shared.batch.put(&FromWorker::Ready, clock::now());
    loop {
        shared.batch.flush();
        if executor.keeps_memory() {
            release_memory_if_idle(&channel, &mut executor);
        }
        // The dispatcher has closed the socket or broken the protocol.
        let Ok(Filled::Some | Filled::Nothing) = channel.wait() else {
            exit_now(0)
        };
        meter.waited();
        cpu_affinity.restore(std::mem::take(&mut tasks));
        loop {
            let Ok(frame) = channel.inbox().next_message() else {
                exit_now(0)
            };
            let Some(frame) = frame else { break };
            let Ok(to) = decode::<ToWorker<'_>>(frame) else {
                exit_now(0)
            };
            tasks += 1;
            let offer = to.offer;
            let claimed = clock::now();
            if page.claim(offer, claimed) {
                let mut run = TaskRun {
                    executor: &mut executor,
                    cpu_limit: &mut cpu_limit,
                    shared,
                    page,
                    meter: &mut meter,
                    scratch,
                };
                match to.spec.input {
                    TaskInput::Chunk { args, .. } => run.chunk(&to, args, claimed),
                    input => run.task(&to, input, claimed),
                }
                page.done(offer);
            } else {
                shared.batch.put(&FromWorker::Skipped(offer), claimed);
            }
        }
    }
}

/// Waits for the next task for a while, and gives the memory of earlier ones back to the kernel if none comes.
fn release_memory_if_idle(channel: &Channel, executor: &mut Executor) {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    // An error shows when the channel is read.
    let waited = poll_until(&mut fds, clock::now() + RESIDENT_MEMORY_TIMEOUT);
    if waited.is_ok() && fds[0].any() == Some(false) {
        executor.release_memory();
    }
}

/// Runs a task that this worker has claimed.
struct TaskRun<'a> {
    executor: &'a mut Executor,
    cpu_limit: &'a mut CpuLimit,
    meter: &'a mut Meter,
    shared: &'a SharedWorkerState,
    page: &'a SharedPage,
    scratch: &'a ScratchDir,
}

impl TaskRun<'_> {
    /// Runs a task in an instance of its own.
    fn task(&mut self, to: &ToWorker<'_>, input: TaskInput<&[u8]>, claimed: Time) {
        let used = self.begin(to, claimed);
        let report = if self.is_cancelled(to) {
            CallReport::not_started(Failure::new(Kind::Cancelled, "cancelled as it began"))
        } else {
            self.executor.run(&call(to, to.id, input))
        };
        self.end(to, claimed, used, &report);
        self.clean_up();
    }

    /// Runs the items of a chunk in one instance. After an item that failed, the next one gets a fresh instance.
    fn chunk(&mut self, to: &ToWorker<'_>, args: &[u8], claimed: Time) {
        let mut begun = claimed;
        for (id, args) in (0..).map(|count| to.id + count).zip(items::iter(args)) {
            self.page.begin(to.offer, id);
            let used = self.begin(to, begun);
            let report = if self.is_cancelled(to) {
                CallReport::not_started(Failure::new(Kind::Cancelled, "cancelled with its chunk"))
            } else {
                self.executor.run_chunk_item(&call(to, id, TaskInput::Json(args)))
            };
            begun = self.end(to, begun, used, &report);
            if report.result.is_err() {
                // The next item's time does not include dropping this instance.
                self.clean_up();
                begun = clock::now();
            }
        }
        self.clean_up();
    }

    /// Drops the instance with its open files, and clears the scratch directory. No deadline is armed meanwhile.
    fn clean_up(&mut self) {
        if self.executor.holds_instance() || self.scratch.is_there() {
            // This can take long. The watchdog flushes the result of the task meanwhile.
            self.shared.watchdog.wake_by(self.shared.batch.due());
        }
        self.executor.drop_instance();
        if let Err(why) = self.scratch.clear() {
            // The next task must not see the files, so the process exits. The process that replaces it tries again.
            self.shared.batch.flush();
            #[expect(
                clippy::disallowed_macros,
                reason = "a pipe to the parent, which escapes what it shows"
            )]
            {
                eprintln!("a worker ends, as it can't clear its scratch directory: {why}");
            }
            exit_now(EXIT_FAILURE);
        }
    }

    /// Begins a call whose timeout counts from `begun`. Returns the CPU time that the thread has used so far.
    fn begin(&mut self, to: &ToWorker<'_>, begun: Time) -> Duration {
        let deadline = begun + to.spec.timeout;
        self.shared.running.store(to.offer.0, Ordering::Relaxed);
        self.shared.watchdog.deadline().arm(deadline);
        // `wake_by` contains the fence that `is_cancelled` needs.
        self.shared
            .watchdog
            .wake_by(deadline.min(self.shared.batch.due()));
        let used = self.meter.start(begun);
        self.cpu_limit.reserve(to.spec.timeout, used);
        used
    }

    /// Returns whether the call that has just [begun](Self::begin) was cancelled before the watchdog could see it.
    fn is_cancelled(&self, to: &ToWorker<'_>) -> bool {
        // A fence separates the stores of `begin` from this load. Either this load sees the cancellation, or the watchdog
        // sees the call and cancels it.
        self.shared.cancelled.load(Ordering::SeqCst) == to.offer.0
    }

    /// Ends a call and reports its result to the dispatcher. Returns the time at which it ended.
    fn end(&mut self, to: &ToWorker<'_>, begun: Time, used: Duration, report: &CallReport) -> Time {
        let now = clock::now();
        let cpu = self.meter.end(used, now);
        if !self.shared.watchdog.deadline().disarm() {
            // The watchdog is about to exit this process. The result must not be sent any more.
            loop {
                std::thread::park();
            }
        }
        // A large result is sent without a copy.
        let large = report
            .result
            .as_ref()
            .ok()
            .filter(|json| json.len() >= LARGE_PAYLOAD);
        let ending = match &report.result {
            Ok(_) if large.is_some() => CallResult::Ok(&[]),
            Ok(json) => CallResult::Ok(json.as_bytes()),
            Err(failure) => CallResult::Failed(failure.clone()),
        };
        let measured = ResourceUsage {
            cpu,
            memory_peak: report.memory_peak,
            stdout_bytes: report.stdout_bytes,
            output_truncated: report.output_truncated,
        };
        let run = now.since(begun);
        let ended = FromWorker::Ended {
            offer: to.offer,
            run,
            measured,
            ending,
        };
        if let Some(json) = large {
            self.shared.batch.send_payload(&ended, json.as_bytes());
            return now;
        }
        self.shared.batch.put(&ended, now);
        if cpu >= MIN_CPU_TO_FLUSH || run >= MIN_WALL_TO_FLUSH {
            self.shared.batch.flush();
        }
        now
    }
}

/// Returns the engine's call for the task or item `id`.
fn call<'a>(to: &ToWorker<'_>, id: TaskId, input: TaskInput<&'a [u8]>) -> Call<'a> {
    Call {
        guest: to.spec.guest,
        model: to.spec.model,
        export: Export::Runnable,
        input,
        task_id: id,
        attempt: to.attempt,
    }
}
