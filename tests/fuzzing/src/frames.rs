//! Bytes from another process: cut into frames, decoded and checked as the receiving process does.
//!
//! The first byte of an input selects the sender, the second the size of the pieces in which the bytes arrive (0: all at
//! once).

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::{Verdict, lines};
use mpwasm_host::dispatcher::{WorkerMessage, WorkerPhase, parse_worker_message};
use mpwasm_protocol::call_result;
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::{
    CallResult, DispatcherStart, FromCompiler, FromDispatcher, FromManager, FromTasks, GuestOutput,
    ManagerStart, StatusReply, StatusRequest, Submission, ToCompiler, ToDispatcher, ToManager, ToTasks,
    ToWorker, WorkerStart, worker_frame,
};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_protocol::request::{Reply, Request};
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::{CallbackStatus, Outcome, TaskError, Usage};
use mpwasm_types::settings::Settings;
use mpwasm_types::task_check::check_args;
use mpwasm_types::task_line::TaskLine;

/// Small caps, so that a fuzzer can exceed them.
pub(super) fn settings() -> Settings {
    Settings {
        max_result: 256,
        max_output: 256,
        max_args: 256,
        ..Settings::default()
    }
}

/// Handles `input` as the bytes that another process sent.
///
/// # Panics
/// When data that passed all checks breaks an invariant, or the frames depend on the pieces.
#[must_use]
pub fn frames(input: &[u8]) -> Verdict {
    let &[speaker, piece, ref bytes @ ..] = input else {
        return Verdict::Refused;
    };
    let settings = settings();
    let [mut silent, mut greeted, mut ready] =
        [WorkerPhase::Started, WorkerPhase::Loading, WorkerPhase::Ready]
            .map(|phase| Worker::new(phase, &settings));
    let mut hear = |frame: &[u8]| match speaker % 18 {
        0 => silent.hear(frame),
        1 => greeted.hear(frame),
        2 => ready.hear(frame),
        3 => dispatcher(frame),
        4 => decoded::<FromCompiler<'_>>(frame),
        5 => tasks(frame, &settings),
        // Of these only the form is checked. Most come from a process of higher trust.
        6 => decoded::<Submission<'_>>(frame),
        7 => decoded::<ToDispatcher>(frame),
        8 => decoded::<ToWorker<'_>>(frame),
        9 => decoded::<ToCompiler>(frame),
        10 => decoded::<ToTasks>(frame),
        11 => decoded::<DispatcherStart>(frame),
        12 => decoded::<WorkerStart<'_>>(frame),
        13 => decoded::<Request<StatusRequest>>(frame),
        14 => decoded::<Reply<StatusReply>>(frame),
        15 => decoded::<ManagerStart>(frame),
        16 => decoded::<ToManager<'_>>(frame),
        _ => decoded::<FromManager<'_>>(frame),
    };
    let result = cut(bytes, piece, worker_frame(&settings), &mut hear);
    Verdict::from(&result)
}

/// Passes `bytes` to an inbox in pieces, and each frame to `hear`. The result must be the same as that of the simplest
/// possible way to cut the bytes.
fn cut(
    mut bytes: &[u8],
    piece: u8,
    max: usize,
    hear: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut inbox = ReceiveBuffer::new(max);
    let mut rest = bytes;
    while !bytes.is_empty() {
        let space = inbox.space();
        let wanted = if piece == 0 {
            bytes.len()
        } else {
            usize::from(piece)
        };
        let count = wanted.min(bytes.len()).min(space.len());
        space[..count].copy_from_slice(&bytes[..count]);
        inbox.filled(count);
        bytes = &bytes[count..];
        while let Some(frame) = inbox.next_message().map_err(|error| error.to_string())? {
            let (header, behind) = rest.split_first_chunk::<4>().expect("a frame has a header");
            let len = u32::from_le_bytes(*header) as usize;
            assert!(len <= max, "a frame over the cap");
            assert_eq!(frame, &behind[..len]);
            rest = &behind[len..];
            hear(frame)?;
        }
        assert_eq!(inbox.pending() + bytes.len(), rest.len(), "bytes got lost");
    }
    match rest {
        [] => Ok(()),
        _ => Err("a frame that is cut".to_owned()),
    }
}

fn decoded<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<(), String> {
    decode::<M>(frame).map(drop).map_err(|error| error.to_string())
}

/// A worker, as the dispatcher sees it.
pub(super) struct Worker<'a> {
    phase: WorkerPhase,
    printed: u64,
    settings: &'a Settings,
}

impl<'a> Worker<'a> {
    pub(super) fn new(phase: WorkerPhase, settings: &'a Settings) -> Self {
        Self {
            phase,
            printed: 0,
            settings,
        }
    }

    /// Handles one frame. A message that passes the checks must satisfy what they guarantee.
    pub(super) fn hear(&mut self, frame: &[u8]) -> Result<(), String> {
        let limits = self.settings;
        match parse_worker_message(frame, self.phase, &mut self.printed, limits)
            .map_err(|fault| fault.to_string())?
        {
            WorkerMessage::Hello => self.phase = WorkerPhase::Loading,
            WorkerMessage::Ready => self.phase = WorkerPhase::Ready,
            WorkerMessage::Ended(ended) => {
                tell(ended.ending.map_or_else(CallResult::Failed, CallResult::Ok));
            }
            WorkerMessage::Output(GuestOutput::Printed { bytes, .. }) => {
                assert!(bytes.len() as u64 <= limits.max_output);
            }
            WorkerMessage::Output(GuestOutput::Logged { text, .. }) => {
                assert!(text.len() as u64 <= limits.max_output);
            }
            WorkerMessage::Skipped(_)
            | WorkerMessage::Unable(_)
            | WorkerMessage::Waiting(..)
            | WorkerMessage::Resumed(_) => {}
        }
        Ok(())
    }
}

/// Handles a frame of the dispatcher as the parent does.
fn dispatcher(frame: &[u8]) -> Result<(), String> {
    let message = decode(frame).map_err(|error| error.to_string())?;
    if let FromDispatcher::Outcome { ending, .. } = message {
        tell(ending);
    }
    Ok(())
}

/// Builds the outcome of a call's end as the parent does.
fn tell(ending: CallResult<'_>) {
    lines::record(&Outcome {
        id: TaskId(1),
        key: None,
        model: String::new(),
        result: call_result::check(ending).map_err(|failure| TaskError::new(failure, "[1]", TaskId(1), 1)),
        attempts: 1,
        tried: Vec::new(),
        usage: Usage::default(),
        callback: CallbackStatus::None,
    });
}

/// Handles a frame of the process that runs a guest's `tasks`, as the parent does.
fn tasks(frame: &[u8], settings: &Settings) -> Result<(), String> {
    let message = decode(frame).map_err(|error| error.to_string())?;
    if let FromTasks::Push(json) = message {
        let line = TaskLine::parse_pushed(json).map_err(|error| error.to_string())?;
        assert!(line.timeout != Some(Duration::ZERO));
        check_args(Cow::Owned(line.args), settings.max_args).map_err(|error| error.to_string())?;
    }
    Ok(())
}
