//! The task thread: claims what is offered, in order, runs it, reports.
//!
//! There is no system call per short task but what the engine needs for a fresh instance: frames are read and written
//! many at a time when there are many, the watchdog is only woken when it sleeps past what is due, and processor time is
//! told from the clock ([`Meter`]).

use mpwasm_system::clock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::meter::Meter;
use mpwasm_engine::{Call, CallReport, Executor, Export};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::{CallRequest, CallResult, FromWorker, ResourceUsage, ToWorker};
use mpwasm_protocol::page::Page;
use mpwasm_sandbox::child::EXIT_FAILURE;
use mpwasm_sandbox::cpu_affinity::CpuAffinity;
use mpwasm_sandbox::cpu_limit::CpuLimit;
use mpwasm_sandbox::scratch::ScratchDir;
use mpwasm_system::clock::thread_cpu;
use mpwasm_system::process::exit_now;
use mpwasm_types::items;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::LARGE_PAYLOAD;
use mpwasm_types::time::Time;

/// The ending of a task that took so much of the processor is sent at once: a system call is nothing beside it. Shorter
/// ones travel together; should the worker be killed from outside, so many at most are lost with it.
const WORTH_A_CALL: Duration = Duration::from_micros(100);
/// The same for a task that took so long on the clock, whatever it waited for. It is longer than most times for which the
/// kernel runs something else instead.
const WORTH_A_CALL_ON_THE_CLOCK: Duration = Duration::from_millis(1);

/// Runs what comes through `channel` until the dispatcher closes it.
pub fn run(
    mut channel: Channel,
    page: &'static Page,
    mut executor: Executor,
    shared: &Shared,
    cpu_affinity: &CpuAffinity,
    mut cpu_limit: CpuLimit,
    scratch: &ScratchDir,
) {
    let mut meter = Meter::new(thread_cpu);
    let mut tasks = 0;
    shared.batch.put(&FromWorker::Ready, clock::now());
    loop {
        shared.batch.flush();
        // The dispatcher is gone or talks nonsense: either way this process has no purpose any more.
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
            let (call, is_chunk) = match decode(frame) {
                Ok(ToWorker::Task(call)) => (call, false),
                Ok(ToWorker::Chunk(call)) => (call, true),
                _ => exit_now(0),
            };
            tasks += 1;
            let offer = call.offer;
            let claimed = clock::now();
            if page.claim(offer, claimed) {
                let mut run = Run {
                    executor: &mut executor,
                    cpu_limit: &mut cpu_limit,
                    shared,
                    page,
                    meter: &mut meter,
                    scratch,
                };
                if is_chunk {
                    run.chunk(&call, claimed);
                } else {
                    run.task(&call, claimed);
                }
                page.done(offer);
            } else {
                shared.batch.put(&FromWorker::Skipped(offer), claimed);
            }
        }
    }
}

/// What runs a task that this worker has claimed.
struct Run<'a> {
    executor: &'a mut Executor,
    cpu_limit: &'a mut CpuLimit,
    meter: &'a mut Meter,
    shared: &'a Shared,
    page: &'a Page,
    scratch: &'a ScratchDir,
}

impl Run<'_> {
    /// A task, in an instance of its own.
    fn task(&mut self, to: &CallRequest<'_>, claimed: Time) {
        let used = self.begin(to, claimed);
        let report = if self.is_cancelled(to) {
            CallReport::not_started(Failure::new(Kind::Cancelled, "cancelled as it began"))
        } else {
            self.executor.run(&call(to, to.id, to.args))
        };
        self.end(to, claimed, used, &report);
        self.let_go();
    }

    /// A chunk: its items in one instance, or a fresh one after one that failed.
    fn chunk(&mut self, to: &CallRequest<'_>, claimed: Time) {
        let mut begun = claimed;
        for (id, args) in (to.id..).zip(items::iter(to.args)) {
            self.page.begin(to.offer, id);
            let used = self.begin(to, begun);
            let report = if self.is_cancelled(to) {
                CallReport::not_started(Failure::new(Kind::Cancelled, "cancelled with its chunk"))
            } else {
                self.executor.run_chunk_item(&call(to, id, args))
            };
            begun = self.end(to, begun, used, &report);
            if report.result.is_err() {
                // The next item has another instance, and its time does not begin before.
                self.let_go();
                begun = clock::now();
            }
        }
        self.let_go();
    }

    /// The last instance goes, with what it had open and what it has left. No task's clock runs meanwhile.
    fn let_go(&mut self) {
        if self.executor.holds_instance() || self.scratch.is_there() {
            // It can take long, and what has just ended need not wait for that.
            self.shared.watchdog.wake_by(self.shared.batch.due());
        }
        self.executor.drop_instance();
        if let Err(why) = self.scratch.clear() {
            // The next task must not find it. Whoever comes after this process tries again.
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

    /// A call begins, whose clock runs since `begun`. Returns the processor time that was used up to here.
    fn begin(&mut self, to: &CallRequest<'_>, begun: Time) -> Duration {
        let deadline = begun + to.timeout;
        self.shared.running.store(to.offer.to_bits(), Ordering::Relaxed);
        self.shared.watchdog.deadline().arm(deadline);
        // It has a fence: see `is_cancelled`.
        self.shared
            .watchdog
            .wake_by(deadline.min(self.shared.batch.due()));
        let used = self.meter.start(begun);
        self.cpu_limit.reserve(to.timeout, used);
        used
    }

    /// Whether what has just [begun](Self::begin) was cancelled before the watchdog could see it run.
    fn is_cancelled(&self, to: &CallRequest<'_>) -> bool {
        // With the fence between what `begin` has stored and this: either this sees the order to cancel, or the watchdog
        // sees the call that it is to end.
        self.shared.cancelled.load(Ordering::SeqCst) == to.offer.to_bits()
    }

    /// It has ended, and this is told. Returns when it did.
    fn end(&mut self, to: &CallRequest<'_>, begun: Time, used: Duration, report: &CallReport) -> Time {
        let now = clock::now();
        let cpu = self.meter.end(used, now);
        if !self.shared.watchdog.deadline().disarm() {
            // The watchdog is about to end this process; nothing that happens from here on may be seen.
            loop {
                std::thread::park();
            }
        }
        // It is sent from where it is.
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
        if cpu >= WORTH_A_CALL || run >= WORTH_A_CALL_ON_THE_CLOCK {
            self.shared.batch.flush();
        }
        now
    }
}

fn call<'a>(to: &CallRequest<'_>, id: u64, args: &'a [u8]) -> Call<'a> {
    Call {
        guest: to.guest,
        model: to.model,
        export: Export::Runnable,
        input: args,
        task_id: id,
        attempt: to.attempt,
    }
}
