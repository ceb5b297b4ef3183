//! Checks the messages of workers, which are not trusted.
//!
//! A worker that was taken over can send anything. What passes here is well-formed and within the caps: a result
//! is one line of JSON, a failure is of a kind that a worker can know of, output belongs to a task that runs and
//! stays below its cap. Whether it makes sense at this point is for the scheduler to say.

use std::time::Duration;

use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::{CallResult, FromWorker, Hello, ResourceUsage};
use mpwasm_protocol::page::Offer;
use mpwasm_types::json::one_line;
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::settings::{LOG_LINE_COST, MAX_JSON_DEPTH, Settings, log_cap};

use super::worker_set::WorkerPhase;

/// A message of a worker that has passed the checks.
#[derive(Debug)]
pub enum WorkerMessage<'a> {
    /// It is our own build.
    Hello,
    /// It takes tasks.
    Ready,
    /// It can't load a guest, and exits.
    Unable(&'a str),
    /// A task has ended.
    Ended {
        /// The offer by which it got the task.
        offer: Offer,
        /// The result, or why there is none.
        ending: Result<&'a [u8], Failure>,
        /// How long the task ran.
        run: Duration,
        /// What the task used.
        measured: ResourceUsage,
    },
    /// It read an offer that had been revoked.
    Skipped(Offer),
    /// Its task printed.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// Its task logged.
    Log {
        /// How important the guest says that it is.
        level: LogLevel,
        /// The line.
        text: &'a str,
    },
}

/// Reads one frame of a worker that has come as far as `phase`, and whose task has printed `printed` bytes.
///
/// # Errors
/// With what it did that it may not do.
pub fn parse<'a>(
    frame: &'a [u8],
    phase: WorkerPhase,
    printed: &mut u64,
    limits: &Settings,
) -> Result<WorkerMessage<'a>, String> {
    if phase == WorkerPhase::Started {
        return Hello::check(frame)
            .map(|()| WorkerMessage::Hello)
            .map_err(|error| error.to_string());
    }
    let message: FromWorker<'_> = decode(frame).map_err(|error| error.to_string())?;
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
            *printed = 0;
            let ending = check_ending(ending, limits.max_result)?;
            Ok(WorkerMessage::Ended {
                offer,
                ending,
                run,
                measured,
            })
        }
        (FromWorker::Skipped(offer), WorkerPhase::Ready) => Ok(WorkerMessage::Skipped(offer)),
        (FromWorker::Output { stream, bytes }, WorkerPhase::Ready) => {
            if bytes.is_empty() {
                return Err("output that is none".to_owned());
            }
            // Without a cap only log lines are counted.
            if limits.max_output != u64::MAX {
                count(printed, bytes.len(), limits)?;
            }
            Ok(WorkerMessage::Output { stream, bytes })
        }
        (FromWorker::Log { level, text }, WorkerPhase::Ready) => {
            count(printed, text.len() + LOG_LINE_COST, limits)?;
            Ok(WorkerMessage::Log { level, text })
        }
        (_, phase) => Err(format!("a message that it may not send while it is {phase:?}")),
    }
}

fn count(printed: &mut u64, bytes: usize, limits: &Settings) -> Result<(), String> {
    *printed = printed.saturating_add(bytes as u64);
    // The worker cuts at the cap. What it may send beyond it is nothing.
    if *printed > log_cap(limits.max_output) {
        Err("more output than the cap allows".to_owned())
    } else {
        Ok(())
    }
}

fn check_ending(ending: CallResult<'_>, max_result: u64) -> Result<Result<&[u8], Failure>, String> {
    match ending {
        CallResult::Ok(json) => {
            check_json(json, max_result)?;
            Ok(Ok(json))
        }
        CallResult::Failed(failure) => {
            if matches!(failure.kind, Kind::Crash | Kind::Invalid) || failure.signal.is_some() {
                return Err(format!(
                    "an outcome that a worker can't know of: {}",
                    failure.kind
                ));
            }
            if let Some(data) = &failure.data {
                check_json(data.as_bytes(), max_result)?;
            }
            Ok(Err(failure))
        }
    }
}

fn check_json(json: &[u8], max_result: u64) -> Result<(), String> {
    if json.len() as u64 > max_result {
        return Err(format!(
            "a result of {} bytes; at most {max_result} are allowed",
            json.len()
        ));
    }
    match one_line(json, MAX_JSON_DEPTH) {
        Ok(line) if line.len() == json.len() => Ok(()),
        Ok(_) => Err("a result that is not on one line".to_owned()),
        Err(error) => Err(format!("a result that is no JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_protocol::frame::put;
    use serde::Serialize;

    /// Lets a worker that is ready say `message`.
    fn say<M: Serialize>(message: &M, phase: WorkerPhase) -> Result<String, String> {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        let limits = Settings {
            max_result: 10,
            max_output: 10,
            ..Settings::default()
        };
        parse(&bytes[4..], phase, &mut 0, &limits).map(|message| format!("{message:?}"))
    }

    fn ended(ending: CallResult<'_>) -> Result<String, String> {
        let offer = Offer::from_bits(512);
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
                &FromWorker::Output {
                    stream: Stream::Stdout,
                    bytes,
                },
                WorkerPhase::Ready,
            )
        };
        assert!(print(b"0123456789").is_ok());
        assert!(print(b"0123456789x").is_err());
    }

    #[test]
    fn messages_without_end_are_not_taken_however_small_they_are() {
        let stream = Stream::Stdout;
        assert!(say(&FromWorker::Output { stream, bytes: b"" }, WorkerPhase::Ready).is_err());
        let (level, text) = (LogLevel::Trace, "");
        assert!(say(&FromWorker::Log { level, text }, WorkerPhase::Ready).is_err());
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
        assert!(say(&FromWorker::Skipped(Offer::from_bits(1)), WorkerPhase::Loading).is_err());
    }
}
