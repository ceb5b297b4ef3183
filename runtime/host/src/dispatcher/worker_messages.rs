//! Checks the messages of workers, which are not trusted.
//!
//! A worker that a guest has taken over can send anything. A message that passes the checks is well-formed and within the
//! limits: a result is one line of JSON, a failure has a kind that a worker can observe, and output stays below its limit.
//! The scheduler decides whether the message fits the state of the worker's tasks.

use std::time::Duration;

use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::{CallResult, FromWorker, GuestOutput, Hello, HelloError, ResourceUsage};
use mpwasm_scheduler::ProtocolFault;
use mpwasm_types::ids::OfferId;
use mpwasm_types::json::{JsonError, MAX_JSON_DEPTH, one_line};
use mpwasm_types::objects::ObjectKind;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::output::log_cap;
use mpwasm_types::settings::Settings;

use super::worker_set::WorkerPhase;

/// A message from a worker that has passed the checks.
#[derive(Debug)]
pub enum WorkerMessage<'a> {
    /// The handshake: the worker is of the same build.
    Hello,
    /// The worker has loaded its guests and takes tasks.
    Ready,
    /// The worker can't load a guest, for this reason, and exits.
    Unable(&'a str),
    /// A task has ended.
    Ended(EndedCall<'a>),
    /// The worker skipped an offer that had been revoked.
    Skipped(OfferId),
    /// The running task printed or logged.
    Output(GuestOutput<'a>),
    /// The running task waits for a shared object.
    Waiting(OfferId, WaitTarget<'a>),
    /// The running task waits no more.
    Resumed(OfferId),
}

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub struct WaitTarget<'a> {
    /// What the object is.
    pub kind: ObjectKind,
    /// Its label.
    pub object: &'a str,
    /// The operation that waits.
    pub operation: &'a str,
}

/// How a task has ended, or the next item of its chunk.
#[derive(Debug)]
pub struct EndedCall<'a> {
    /// The offer of the task.
    pub offer: OfferId,
    /// The result or failure.
    pub ending: Result<&'a [u8], Failure>,
    /// How long the task ran.
    pub run: Duration,
    /// The resources that the task used.
    pub measured: ResourceUsage,
}

/// Reports how a worker broke the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerFault {
    /// Its first frame is no hello of the same build.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// A frame is invalid.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message does not belong into the phase of its start.
    #[error("a message that it may not send while it is {0:?}")]
    OutOfPhase(WorkerPhase),
    /// A message reports output, and has none.
    #[error("output that is none")]
    EmptyOutput,
    /// The output of a task is over its limit.
    #[error("more output than the cap allows")]
    TooMuchOutput,
    /// A task waits for a shared object, and the pool has none.
    #[error("a wait for a shared object, of which the pool has none")]
    NoObjects,
    /// Output came while no task ran.
    #[error("output without a running task")]
    NoTask,
    /// A task has failed in a way that only the dispatcher or the parent can observe.
    #[error("an outcome that a worker can't know of: {0}")]
    ImpossibleKind(Kind),
    /// A result is too large.
    #[error("a result of {bytes} bytes; at most {max} are allowed")]
    LongResult {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: u64,
    },
    /// A result has line breaks.
    #[error("a result that is not on one line")]
    ResultOnManyLines,
    /// A result is no JSON.
    #[error("a result that is no JSON: {0}")]
    NoJson(#[from] JsonError),
    /// A message does not fit the state of the worker's tasks.
    #[error(transparent)]
    Tasks(#[from] ProtocolFault),
}

/// Decodes and checks one frame of a worker in `phase`. `total` counts the bytes that its running task has printed.
///
/// # Errors
/// Returns how the worker broke the protocol.
pub fn parse<'a>(
    frame: &'a [u8],
    phase: WorkerPhase,
    total: &mut u64,
    limits: &Settings,
) -> Result<WorkerMessage<'a>, WorkerFault> {
    if phase == WorkerPhase::Started {
        Hello::check(frame)?;
        return Ok(WorkerMessage::Hello);
    }
    let message: FromWorker<'_> = decode(frame)?;
    match (message, phase) {
        (FromWorker::Ready, WorkerPhase::Loading) => Ok(WorkerMessage::Ready),
        (FromWorker::LoadFailed(why), WorkerPhase::Loading) => Ok(WorkerMessage::Unable(why)),
        (
            FromWorker::Ended {
                offer,
                ending,
                run,
                measured,
            },
            WorkerPhase::Ready,
        ) => {
            *total = 0;
            let ending = check_ending(ending, limits.max_result)?;
            Ok(WorkerMessage::Ended(EndedCall {
                offer,
                ending,
                run,
                measured,
            }))
        }
        (FromWorker::Skipped(offer), WorkerPhase::Ready) => Ok(WorkerMessage::Skipped(offer)),
        (
            FromWorker::Waiting {
                offer,
                kind,
                object,
                operation,
            },
            WorkerPhase::Ready,
        ) => {
            let target = WaitTarget {
                kind,
                object,
                operation,
            };
            Ok(WorkerMessage::Waiting(offer, target))
        }
        (FromWorker::Resumed(offer), WorkerPhase::Ready) => Ok(WorkerMessage::Resumed(offer)),
        (FromWorker::Output(output), WorkerPhase::Ready) => {
            let bytes = output
                .counted(limits.max_output)
                .ok_or(WorkerFault::EmptyOutput)?;
            *total = total.saturating_add(bytes);
            // The worker truncates output at the limit, so an honest one never exceeds it.
            if *total > log_cap(limits.max_output) {
                return Err(WorkerFault::TooMuchOutput);
            }
            Ok(WorkerMessage::Output(output))
        }
        (_, phase) => Err(WorkerFault::OutOfPhase(phase)),
    }
}

/// Checks a result or failure.
fn check_ending(ending: CallResult<'_>, max_result: u64) -> Result<Result<&[u8], Failure>, WorkerFault> {
    match ending {
        CallResult::Ok(json) => {
            check_json(json, max_result)?;
            Ok(Ok(json))
        }
        CallResult::Failed(failure) => {
            if matches!(failure.kind, Kind::Crash | Kind::Invalid) || failure.signal.is_some() {
                return Err(WorkerFault::ImpossibleKind(failure.kind));
            }
            if let Some(data) = &failure.data {
                check_json(data.as_bytes(), max_result)?;
            }
            Ok(Err(failure))
        }
    }
}

/// Checks that a result is one line of JSON within the limits.
fn check_json(json: &[u8], max_result: u64) -> Result<(), WorkerFault> {
    if json.len() as u64 > max_result {
        return Err(WorkerFault::LongResult {
            bytes: json.len(),
            max: max_result,
        });
    }
    match one_line(json, MAX_JSON_DEPTH)? {
        line if line.len() == json.len() => Ok(()),
        _ => Err(WorkerFault::ResultOnManyLines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_protocol::frame::put;
    use mpwasm_types::outcome::{LogLevel, Stream};
    use serde::Serialize;

    /// Parses `message` as one of a worker in `phase`. Returns the message or the fault as text.
    fn say<M: Serialize>(message: &M, phase: WorkerPhase) -> Result<String, String> {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        let limits = Settings {
            max_result: 10,
            max_output: 10,
            ..Settings::default()
        };
        parse(&bytes[4..], phase, &mut 0, &limits)
            .map(|message| format!("{message:?}"))
            .map_err(|fault| fault.to_string())
    }

    fn ended(ending: CallResult<'_>) -> Result<String, String> {
        let offer = OfferId(512);
        say(
            &FromWorker::Ended {
                offer,
                ending,
                run: Duration::ZERO,
                measured: ResourceUsage::default(),
            },
            WorkerPhase::Ready,
        )
    }

    #[test]
    fn a_result_is_one_line_of_json_within_the_cap() {
        assert!(ended(CallResult::Ok(b"[1,2]")).is_ok());
        assert!(ended(CallResult::Ok(b"[1,")).unwrap_err().contains("no JSON"));
        assert!(
            ended(CallResult::Ok(b"[1,\n2]"))
                .unwrap_err()
                .contains("one line")
        );
        assert!(
            ended(CallResult::Ok(b"\"\xff\""))
                .unwrap_err()
                .contains("no JSON")
        );
        assert!(
            ended(CallResult::Ok(b"[1,2,3,4,5]"))
                .unwrap_err()
                .contains("11 bytes")
        );
    }

    #[test]
    fn a_failure_is_of_a_kind_that_a_worker_can_know_of() {
        assert!(ended(CallResult::Failed(Failure::new(Kind::Trap, "x"))).is_ok());
        assert!(ended(CallResult::Failed(Failure::new(Kind::Crash, "x"))).is_err());
        assert!(ended(CallResult::Failed(Failure::new(Kind::Invalid, "x"))).is_err());
        let lie = Failure {
            data: Some("{".to_owned()),
            ..Failure::new(Kind::Error, "x")
        };
        assert!(ended(CallResult::Failed(lie)).is_err());
        let long = Failure {
            backtrace: vec![String::new(); 33],
            ..Failure::new(Kind::Trap, "x")
        };
        assert!(ended(CallResult::Failed(long)).is_err());
    }

    #[test]
    fn output_past_the_cap_is_no_output_of_ours() {
        let print = |bytes: &[u8]| {
            say(
                &FromWorker::Output(GuestOutput::Printed {
                    stream: Stream::Stdout,
                    bytes,
                }),
                WorkerPhase::Ready,
            )
        };
        assert!(print(b"0123456789").is_ok());
        assert!(print(b"0123456789x").is_err());
    }

    #[test]
    fn messages_without_end_are_not_taken_however_small_they_are() {
        let stream = Stream::Stdout;
        assert!(
            say(
                &FromWorker::Output(GuestOutput::Printed { stream, bytes: b"" }),
                WorkerPhase::Ready
            )
            .is_err()
        );
        let (level, text) = (LogLevel::Trace, "");
        assert!(
            say(
                &FromWorker::Output(GuestOutput::Logged { level, text }),
                WorkerPhase::Ready
            )
            .is_err()
        );
    }

    #[test]
    fn nothing_is_taken_from_a_worker_before_its_hello() {
        assert!(say(&Hello::ours(), WorkerPhase::Started).is_ok());
        assert!(
            say(
                &Hello {
                    version: "0.0.0",
                    build: "x",
                    ..Hello::ours()
                },
                WorkerPhase::Started
            )
            .unwrap_err()
            .contains("0.0.0")
        );
        assert!(say(&FromWorker::Ready, WorkerPhase::Started).is_err());
    }

    #[test]
    fn a_message_out_of_its_time_is_refused() {
        assert!(say(&FromWorker::Ready, WorkerPhase::Ready).is_err());
        assert!(say(&FromWorker::Skipped(OfferId(1)), WorkerPhase::Loading).is_err());
    }
}
