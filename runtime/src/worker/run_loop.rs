//! The task thread: claims what is offered, in order, runs it, reports.
//!
//! There is no system call per short task but what the engine needs for a fresh instance: frames are read and written
//! many at a time when there are many, the watchdog is only woken when it sleeps past what is due, and processor time is
//! told from the clock ([`Meter`]).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::meter::Meter;
use crate::backstop::Backstop;
use crate::guest::{Call, Executor, Export};
use crate::home::Home;
use crate::process::exit_now;
use crate::time::{Time, thread_cpu};
use crate::wire::channel::{Channel, Filled};
use crate::wire::frame::decode;
use crate::wire::messages::{Ending, FromWorker, Measured, ToWorker};
use crate::wire::page::{Offer, Page};

/// The ending of a task that took so long is sent at once: a system call is nothing beside it. Shorter ones travel
/// together; should the worker be killed from outside, so many at most are lost with it.
const WORTH_A_CALL: Duration = Duration::from_micros(100);

/// Runs what comes through `channel` until the dispatcher closes it.
pub fn run(
    mut channel: Channel,
    page: Page,
    mut executor: Executor,
    shared: &Shared,
    home: &Home,
    mut backstop: Backstop,
) {
    let mut meter = Meter::new(thread_cpu);
    let mut tasks = 0;
    shared.outbox.put(&FromWorker::Ready, Time::now());
    loop {
        shared.outbox.flush();
        // The dispatcher is gone or talks nonsense: either way this process has no purpose any more.
        let Ok(Filled::Some | Filled::Nothing) = channel.wait() else {
            exit_now(0)
        };
        meter.waited();
        home.look(std::mem::take(&mut tasks));
        loop {
            let Ok(frame) = channel.inbox().next() else {
                exit_now(0)
            };
            let Some(frame) = frame else { break };
            let Ok(ToWorker::Task {
                offer,
                id,
                guest,
                model,
                timeout,
                attempt,
                args,
            }) = decode(frame)
            else {
                exit_now(0)
            };
            let call = Call {
                guest,
                model,
                export: Export::Runnable,
                input: args,
                task_id: id,
                attempt,
            };
            tasks += 1;
            let claimed = Time::now();
            if page.claim(offer, claimed) {
                let claim = Claim {
                    offer,
                    at: claimed,
                    timeout,
                };
                run_task(&mut executor, &call, &claim, shared, &mut meter, &mut backstop);
                page.done(offer);
            } else {
                shared.outbox.put(&FromWorker::Skipped(offer), claimed);
            }
        }
    }
}

/// A task that this worker has claimed.
struct Claim {
    offer: Offer,
    at: Time,
    timeout: Duration,
}

fn run_task(
    executor: &mut Executor,
    call: &Call<'_>,
    claim: &Claim,
    shared: &Shared,
    meter: &mut Meter,
    backstop: &mut Backstop,
) {
    let &Claim { offer, at, timeout } = claim;
    let deadline = at + timeout;
    shared.running.store(offer.to_bits(), Ordering::SeqCst);
    shared.alarm.deadline().arm(deadline);
    shared.alarm.nudge(deadline.min(shared.outbox.due()));
    let used = meter.start(at);
    backstop.cover(timeout, used);
    let report = executor.run(call);
    let now = Time::now();
    let cpu = meter.end(used, now);
    if !shared.alarm.deadline().disarm() {
        // The watchdog is about to end this process; nothing that happens from here on may be seen.
        loop {
            std::thread::park();
        }
    }
    let ending = match &report.ending {
        Ok(json) => Ending::Ok(json.as_bytes()),
        Err(failure) => Ending::Failed(failure.clone()),
    };
    let measured = Measured {
        cpu,
        memory_peak: report.memory_peak,
        stdout_bytes: report.stdout_bytes,
        output_truncated: report.output_truncated,
    };
    let run = now.since(at);
    let ended = FromWorker::Ended {
        offer,
        ending,
        run,
        measured,
    };
    shared.outbox.put(&ended, now);
    if run >= WORTH_A_CALL {
        shared.outbox.flush();
    }
}
