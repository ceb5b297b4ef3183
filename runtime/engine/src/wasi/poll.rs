//! `poll_oneoff`, the one way in which WASI waits, in place of that of wasmtime-wasi.
//!
//! A wait has to end at the call's deadline and when the call is cancelled, on the thread that runs the guest. Nothing
//! interrupts a wait inside wasmtime-wasi.

use mpwasm_system::clock;
use wasmtime::{Caller, Linker};

use super::clock::{MONOTONIC, REALTIME, realtime};
use super::descriptors::{DescriptorKind, describe, left_in_file};
use super::preview1::{MODULE, errno};
use crate::abi::memory::{memory_and_state, range};
use crate::failure::StopReason;
use crate::state::InstanceState;
use crate::wasi::stdin::Readiness;
use mpwasm_types::time::Time;

/// Largest number of subscriptions of a call: 4096, more than any program has, and few enough to take no noticeable time.
const MAX_SUBSCRIPTIONS: u32 = 4096;
/// Size of a `subscription`, in bytes.
const SUBSCRIPTION: u32 = 48;
/// Size of an `event`, in bytes.
const EVENT: u32 = 32;

/// Values of `eventtype`, which is also the tag of a subscription.
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// Flag of `subclockflags`: the timeout is a point in time, not a duration.
const ABSOLUTE: u16 = 1;
/// Flag of `eventrwflags`: the peer has closed its end.
const HANGUP: u16 = 1;

/// Defines `poll_oneoff`.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    Ok(())
}

/// The event that a subscription waits for.
enum WaitFor {
    Until(Time),
    /// Ready when stdin is.
    Read,
    /// Ready at once: stdout and stderr are never full.
    Write,
    /// Ready at once, as files are: the event type, and the bytes of a file that are left to read.
    File(u8, Option<u64>),
    /// Fails at once, with this error number and event type.
    Never(u16, u8),
}

impl WaitFor {
    /// Returns the event of `fd` being readable or writable, as `tag` says.
    fn on_descriptor(tag: u8, fd: i32, state: &mut InstanceState) -> wasmtime::Result<Self> {
        Ok(match (tag, describe(state, fd)?) {
            (FD_READ, DescriptorKind::Stdin) => Self::Read,
            (FD_WRITE, DescriptorKind::Output) => Self::Write,
            (FD_READ, DescriptorKind::File) => Self::File(tag, Some(left_in_file(state, fd)?)),
            // A directory is ready as well, as on Linux. An attempt to read it fails.
            (_, DescriptorKind::File | DescriptorKind::Directory) => Self::File(tag, None),
            (_, DescriptorKind::Closed | DescriptorKind::Stdin | DescriptorKind::Output) => {
                Self::Never(errno::BADF as u16, tag)
            }
        })
    }
}

struct Subscription {
    userdata: [u8; 8],
    wait: WaitFor,
}

fn poll_oneoff(
    mut caller: Caller<'_, InstanceState>,
    subscriptions: i32,
    events: i32,
    count: i32,
    result: i32,
) -> wasmtime::Result<i32> {
    let count = count.cast_unsigned();
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(errno::INVAL);
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    let from = range(
        memory,
        "poll_oneoff",
        subscriptions,
        (count * SUBSCRIPTION).cast_signed(),
    )?;
    let to = range(memory, "poll_oneoff", events, (count * EVENT).cast_signed())?;
    let result = range(memory, "poll_oneoff", result, 4)?;

    let now = (clock::now(), realtime());
    let mut waits = Vec::new();
    for bytes in memory[from].chunks_exact(SUBSCRIPTION as usize) {
        match Subscription::read(bytes, now, state)? {
            Some(subscription) => waits.push(subscription),
            None => return Ok(errno::INVAL),
        }
    }
    // If something is ready at once, this does not wait. The deadline is checked in both cases.
    let clocks = waits.iter().map(Subscription::due).min().unwrap_or(Time(0));
    let stdin = if waits
        .iter()
        .any(|subscription| matches!(subscription.wait, WaitFor::Read))
    {
        state.stdin.wait_until(clocks)
    } else {
        state.deadline.sleep_until(clocks).map(|()| None)
    };
    let stdin = stdin.map_err(StopReason::Interrupted)?;

    let now = clock::now();
    let mut written = 0_u32;
    let ready = waits.iter().filter(|subscription| match subscription.wait {
        WaitFor::Read => stdin.is_some(),
        _ => subscription.due() <= now,
    });
    for (subscription, event) in ready.zip(memory[to].chunks_exact_mut(EVENT as usize)) {
        subscription.write_event(event, stdin);
        written += 1;
    }
    memory[result].copy_from_slice(&written.to_le_bytes());
    Ok(errno::SUCCESS)
}

impl Subscription {
    /// Reads a `subscription` of 48 bytes; `now` is the time on both clocks. Returns `None` for an
    /// unknown tag.
    fn read(bytes: &[u8], now: (Time, u64), state: &mut InstanceState) -> wasmtime::Result<Option<Self>> {
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of 8 bytes"));
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of 4 bytes"));
        let tag = bytes[8];
        let wait = match tag {
            CLOCK => {
                let timeout = u64_at(24);
                let absolute = u16::from_le_bytes([bytes[40], bytes[41]]) & ABSOLUTE != 0;
                match (u32_at(16), absolute) {
                    (MONOTONIC, true) => WaitFor::Until(Time(timeout)),
                    (MONOTONIC | REALTIME, false) => WaitFor::Until(Time(now.0.0.saturating_add(timeout))),
                    (REALTIME, true) => {
                        WaitFor::Until(Time(now.0.0.saturating_add(timeout.saturating_sub(now.1))))
                    }
                    _ => WaitFor::Never(errno::INVAL as u16, tag),
                }
            }
            FD_READ | FD_WRITE => WaitFor::on_descriptor(tag, u32_at(16).cast_signed(), state)?,
            _ => return Ok(None),
        };
        Ok(Some(Self {
            userdata: bytes[..8].try_into().expect("a range of 8 bytes"),
            wait,
        }))
    }

    /// Returns the time at which it is ready, apart from stdin.
    fn due(&self) -> Time {
        match self.wait {
            WaitFor::Until(time) => time,
            WaitFor::Read => Time::NEVER,
            WaitFor::Write | WaitFor::File(..) | WaitFor::Never(..) => Time(0),
        }
    }

    /// Writes an `event` of 32 bytes. `stdin` is the state of stdin, if it is ready.
    fn write_event(&self, event: &mut [u8], stdin: Option<Readiness>) {
        let (error, kind, bytes, flags) = match self.wait {
            WaitFor::Until(_) => (0, CLOCK, 0, 0),
            WaitFor::Read => match stdin {
                Some(Readiness::Bytes(count)) => (0, FD_READ, count, 0),
                Some(Readiness::End) | None => (0, FD_READ, 0, HANGUP),
            },
            WaitFor::Write => (0, FD_WRITE, 4096_u64, 0),
            // The end of a file, reported as wasmtime reports it.
            WaitFor::File(kind, Some(0)) => (0, kind, 0, HANGUP),
            WaitFor::File(kind, left) => (0, kind, left.unwrap_or(4096), 0),
            WaitFor::Never(error, kind) => (error, kind, 0, 0),
        };
        event.fill(0);
        event[..8].copy_from_slice(&self.userdata);
        event[8..10].copy_from_slice(&error.to_le_bytes());
        event[10] = kind;
        event[16..24].copy_from_slice(&bytes.to_le_bytes());
        event[24..26].copy_from_slice(&flags.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Export;
    use crate::testing::{Rig, call, command, ended, fails, guest, invocation, run, runnable};
    use mpwasm_types::ids::ModelId;
    use mpwasm_types::outcome::Kind;
    use std::time::Duration;

    /// Fills subscription number `n` at address 0 and following with a clock.
    fn clock(n: u32, id: u32, timeout: &str, flags: u16) -> String {
        let at = n * SUBSCRIPTION;
        format!(
            "(i64.store (i32.const {at}) (i64.const {userdata}))
             (i32.store8 (i32.const {tag}) (i32.const 0))
             (i32.store (i32.const {clock}) (i32.const {id}))
             (i64.store (i32.const {time}) {timeout})
             (i32.store16 (i32.const {flag}) (i32.const {flags}))",
            userdata = 100 + n,
            tag = at + 8,
            clock = at + 16,
            time = at + 24,
            flag = at + 40,
        )
    }

    /// Fills subscription number `n` with a file descriptor.
    fn descriptor(n: u32, tag: u8, fd: u32) -> String {
        let at = n * SUBSCRIPTION;
        format!(
            "(i64.store (i32.const {at}) (i64.const {userdata}))
             (i32.store8 (i32.const {tag_at}) (i32.const {tag}))
             (i32.store (i32.const {fd_at}) (i32.const {fd}))",
            userdata = 100 + n,
            tag_at = at + 8,
            fd_at = at + 16,
        )
    }

    /// Events go to 1000 and following, their number to 2000.
    fn poll(count: i32) -> String {
        format!("(call $poll_oneoff (i32.const 0) (i32.const 1000) (i32.const {count}) (i32.const 2000))")
    }

    const MINUTE: &str = "(i64.const 60000000000)";
    const MILLISECOND: &str = "(i64.const 1000000)";

    /// Asserts that a poll of these subscriptions succeeds and gives events with this userdata and error.
    fn gives(subscriptions: &[String], events: &[(u32, i32)]) {
        let mut checks = format!(
            "(if (i32.ne (i32.load (i32.const 2000)) (i32.const {})) (then (return (i32.const 1))))",
            events.len()
        );
        for (i, (userdata, error)) in events.iter().enumerate() {
            let at = 1000 + EVENT * i as u32;
            checks += &format!(
                "(if (i64.ne (i64.load (i32.const {at})) (i64.const {userdata}))
                   (then (return (i32.const 2))))
                 (if (i32.ne (i32.load16_u (i32.const {})) (i32.const {error}))
                   (then (return (i32.const 3))))",
                at + 8
            );
        }
        let body = format!(
            "{} (if {} (then (return (i32.const 4)))) {checks} (i32.const 0)",
            subscriptions.concat(),
            poll(subscriptions.len() as i32)
        );
        assert_eq!(run(&body).result.as_deref(), Ok("null"));
    }

    #[test]
    fn a_relative_clock_is_waited_for() {
        let started = clock::now();
        gives(&[clock(0, MONOTONIC, MILLISECOND, 0)], &[(100, 0)]);
        gives(&[clock(0, REALTIME, MILLISECOND, 0)], &[(100, 0)]);
        assert!(clock::now().since(started) >= Duration::from_millis(2));
    }

    #[test]
    fn an_absolute_clock_is_the_one_that_the_guest_reads() {
        for id in [REALTIME, MONOTONIC] {
            let soon = format!(
                "(block (result i64)
                   (drop (call $clock_time_get (i32.const {id}) (i64.const 0) (i32.const 3000)))
                   (i64.add (i64.load (i32.const 3000)) {MILLISECOND}))"
            );
            let started = clock::now();
            gives(&[clock(0, id, &soon, ABSOLUTE)], &[(100, 0)]);
            assert!(clock::now().since(started) >= Duration::from_millis(1));
            gives(&[clock(0, id, "(i64.const 5)", ABSOLUTE)], &[(100, 0)]);
        }
    }

    #[test]
    fn the_earliest_clock_ends_the_wait() {
        gives(
            &[
                clock(0, MONOTONIC, MINUTE, 0),
                clock(1, MONOTONIC, "(i64.const 0)", 0),
                clock(2, REALTIME, MILLISECOND, 0),
            ],
            &[(101, 0)],
        );
    }

    #[test]
    fn the_standard_streams_are_ready_at_once() {
        gives(
            &[
                clock(0, MONOTONIC, MINUTE, 0),
                descriptor(1, FD_READ, 0),
                descriptor(2, FD_WRITE, 1),
                descriptor(3, FD_WRITE, 2),
            ],
            &[(101, 0), (102, 0), (103, 0)],
        );
    }

    #[test]
    fn a_stdin_that_is_there_is_ready_with_its_size_and_hangs_up_at_its_end() {
        let size_and_flags = "(i32.store8 (i32.const 4000)
               (i32.add (i32.const 48) (i32.load (i32.const 1016))))
             (i32.store8 (i32.const 4001) (i32.add (i32.const 48) (i32.load16_u (i32.const 1024))))
             (i32.store (i32.const 3000) (i32.const 4000)) (i32.store (i32.const 3004) (i32.const 2))
             (drop (call $fd_write (i32.const 1) (i32.const 3000) (i32.const 1) (i32.const 3008)))";
        let body = descriptor(0, FD_READ, 0) + "(drop " + &poll(1) + ")" + size_and_flags;
        for (stdin, printed) in [(&b"abc"[..], "30"), (b"", "01")] {
            let report = Rig::new(&command(&body)).command(&invocation(&[], stdin));
            let result = report.result.unwrap();
            assert!(result.contains(&format!("\"stdout\":\"{printed}\"")), "{result}");
        }
    }

    #[test]
    fn what_cannot_be_waited_for_is_an_event_with_an_error() {
        gives(
            &[
                descriptor(0, FD_READ, 3),
                descriptor(1, FD_WRITE, 0),
                clock(2, 2, "(i64.const 0)", 0),
                clock(3, MONOTONIC, MINUTE, 0),
            ],
            &[(100, errno::BADF), (101, errno::BADF), (102, errno::INVAL)],
        );
    }

    #[test]
    fn invalid_arguments_are_an_error_number() {
        for body in [
            poll(0),
            poll(4097),
            poll(-1),
            descriptor(0, 3, 0) + &poll(1),
            "(call $clock_time_get (i32.const 4) (i64.const 0) (i32.const 0))".to_owned(),
        ] {
            let code = fails(Kind::Error, &body).message;
            assert_eq!(code, "the guest returned 28", "{body}");
        }
    }

    #[test]
    fn out_of_bounds_traps() {
        for body in [
            "(call $poll_oneoff (i32.const 65530) (i32.const 0) (i32.const 1) (i32.const 0))",
            "(call $poll_oneoff (i32.const 0) (i32.const 65530) (i32.const 1) (i32.const 0))",
            "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1))",
            "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 4096) (i32.const 0))",
            "(call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 65529))",
        ] {
            let message = fails(Kind::Trap, body).message;
            assert!(message.contains("out of bounds"), "{message}");
        }
    }

    #[test]
    fn a_wait_ends_at_the_deadline() {
        let forever = clock(0, MONOTONIC, "(i64.const -1)", 0) + &poll(1);
        let mut rig = Rig::new(&runnable(&forever));
        rig.timed_out("in `runnable`");
        // And by itself, when the watchdog is late: nothing else wakes it here.
        let at = clock::now() + Duration::from_millis(5);
        rig.deadline.arm(at);
        ended(
            Kind::Timeout,
            rig.executor.run(&call(Export::Runnable, ModelId(0), "[]")),
        );
        assert!(clock::now() >= at && rig.deadline.disarm());
    }

    #[test]
    fn a_loop_of_polls_that_are_ready_ends_at_the_deadline() {
        let body = format!(
            "{} (loop $l (drop {}) (br $l)) (i32.const 0)",
            descriptor(0, 2, 1),
            poll(1)
        );
        ended(Kind::Timeout, Rig::new(&runnable(&body)).timed());
    }

    #[test]
    fn a_wait_ends_when_the_call_is_cancelled() {
        let forever = clock(0, MONOTONIC, "(i64.const -1)", 0) + &poll(1);
        // It says when it is about to sleep.
        let wat = guest(&format!(
            "(func (export \"runnable\") (result i32)
               (call $log (i32.const 3) (i32.const 0) (i32.const 0)) {forever})"
        ));
        Rig::new(&wat).cancelled_in_wait(|rig| rig.call(Export::Runnable, "[]"));
    }
}
