//! A compromised dispatcher, taken over for example through a callback. It has no workers: it does itself what a task's
//! args name, and forges an outcome with the result.

use mpwasm_system::clock;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::attempted::Attempted;
use crate::calls::attempt;
use crate::part::Part;
use mpwasm_protocol::channel::{Channel, send_all};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::OUTPUT_PIECE;
use mpwasm_protocol::messages::{
    CallResult, DispatcherStart, FromDispatcher, GuestOutput, Source, Submission, ToDispatcher, WorkerEvent,
};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::grants::Granted;
use mpwasm_types::ids::{GuestId, ModelId, TaskId, WorkerNumber};
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGE;
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, Kind, LogLevel, Stream};
use mpwasm_types::output::MAX_LOG_TEXT;
use mpwasm_types::retry::MAX_RETRIES;
use mpwasm_types::role::Role;

/// Becomes a dispatcher that does what its tasks say. Returns only when it can't.
pub fn main(part: &Part) -> String {
    match serve(part) {
        Ok(()) => "the pool is over".to_owned(),
        Err(why) => why,
    }
}

fn serve(part: &Part) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut parent = child::start_up().map_err(|error| error.to_string())?;
    let DispatcherStart { jail, settings, .. } =
        in_memory::receive(&mut parent).map_err(|error| text(&error))?;
    let mut tasks = File::from(parent.take_descriptor().ok_or("no pipe came")?);
    let _requests = parent.take_descriptor().ok_or("no socket for requests came")?;
    let granted = Granted::new(settings.grants, || {
        parent.take_descriptor().ok_or("no directory came")
    })?;
    if let Some(plan) = part.plan(jail) {
        jail::isolate(Role::Dispatcher, &plan, &granted.dirs).map_err(|error| text(&error))?;
        jail::lock_down(Role::Dispatcher, &plan).map_err(|error| text(&error))?;
    }
    // This is the guest: the tests load one, and then push.
    let ToDispatcher::Load { .. } = parent.receive().map_err(|error| text(&error))? else {
        return Err("no guest came".to_owned());
    };
    say(&parent, &FromDispatcher::Loaded)?;
    let mut inbox = ReceiveBuffer::new(1 << 20);
    loop {
        let count = tasks.read(inbox.space()).map_err(|error| text(&error))?;
        if count == 0 {
            return Ok(());
        }
        inbox.filled(count);
        while let Some(frame) = inbox.next_message().map_err(|error| text(&error))? {
            match decode(frame).map_err(|error| text(&error))? {
                Submission::Task { spec, .. } if spec.input.is_chunk() => {
                    return Err("no test sends it a chunk".to_owned());
                }
                Submission::Task { id, spec, .. } => obey(&parent, id.first(), spec.input.bytes())?,
                Submission::Exit => return say(&parent, &FromDispatcher::Finished),
            }
        }
    }
}

fn obey(parent: &Channel, id: TaskId, args: &[u8]) -> Result<(), String> {
    let args: Vec<String> = serde_json::from_slice(args).unwrap_or_default();
    let word = |index: usize| args.get(index).map_or("", String::as_str);
    if word(0) == "forge" {
        return forge(parent, id, word(1));
    }
    if word(0) == "flood" {
        return flood(parent, id, word(1));
    }
    let told = match attempt(word(0), word(1)) {
        Attempted::Succeeded => "succeeded".to_owned(),
        Attempted::Refused(error) => {
            format!(
                "{:?}",
                nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0))
            )
        }
        Attempted::Unknown => "unknown".to_owned(),
    };
    say(
        parent,
        &FromDispatcher::Outcome {
            id,
            ending: CallResult::Ok(format!("\"{told}\"").as_bytes()),
            ran: None,
            callback: CallbackStatus::None,
        },
    )
}

/// Sends impossible messages.
#[expect(clippy::too_many_lines, reason = "one arm for each attack")]
fn forge(parent: &Channel, id: TaskId, what: &str) -> Result<(), String> {
    let tried = |attempt: u32, message: usize| FromDispatcher::AttemptFailed {
        id,
        attempt: Attempt {
            attempt,
            kind: Kind::Crash,
            message: "x".repeat(message),
            worker: WorkerNumber(0),
            pid: 1,
            run_us: 0,
        },
    };
    let fold = |guest, model| FromDispatcher::Final {
        guest: GuestId(guest),
        model: ModelId(model),
        ending: CallResult::Ok(b"0"),
    };
    let final_callback = |model| Source::FinalCallback {
        guest: GuestId(0),
        model,
    };
    let outcome = |ending| FromDispatcher::Outcome {
        id,
        ending,
        ran: None,
        callback: CallbackStatus::None,
    };
    match what {
        "the second attempt first" => say(parent, &tried(2, 1)),
        "attempts without end" => (1..).try_for_each(|attempt| say(parent, &tried(attempt, 1000))),
        "all attempts and no end" => {
            (1..=MAX_RETRIES).try_for_each(|attempt| say(parent, &tried(attempt, MAX_ATTEMPT_MESSAGE)))
        }
        "an attempt with a long message" => say(parent, &tried(1, 1001)),
        "a fold of no guest" => say(parent, &fold(1, 0)),
        "a fold of no model" => say(parent, &fold(0, 64)),
        "a fold twice" => (0..2).try_for_each(|_| say(parent, &fold(0, 0))),
        "a failure with frames without end" => {
            let failure = Failure {
                backtrace: vec![String::new(); 15 << 20],
                ..Failure::new(Kind::Trap, "x")
            };
            say(parent, &outcome(CallResult::Failed(failure)))
        }
        "a warning without end" => say(parent, &FromDispatcher::Warning(&"x".repeat(1 << 20))),
        "output of tasks without end" => {
            (1..).try_for_each(|count| say(parent, &output(Source::Task(id + count))))
        }
        "output of callbacks without end" => {
            (1..).try_for_each(|count| say(parent, &output(Source::Callback(id + count))))
        }
        "output of final callbacks without end" => {
            let sources = (1..).map(|model| final_callback(ModelId(model)));
            sources
                .into_iter()
                .try_for_each(|source| say(parent, &output(source)))
        }
        "output of a task without end" => loop {
            say(parent, &output(Source::Task(id)))?;
        },
        "output of its callback without end" => loop {
            say(parent, &output(Source::Callback(id)))?;
        },
        "output of its final callback without end" => loop {
            say(parent, &output(final_callback(ModelId(0))))?;
        },
        "output that is none" => say(parent, &printed(Source::Task(id), b"")),
        "ends of output without end" => loop {
            let source = Source::Task(id);
            say(parent, &FromDispatcher::OutputEnd { source })?;
        },
        "log lines of a task without end" => loop {
            let text = "x".repeat(4000);
            say(parent, &logged(Source::Task(id), LogLevel::Debug, &text))?;
        },
        "output of `tasks`" => say(parent, &output(Source::Tasks)),
        "an end of output" => {
            let source = Source::Task(id + 1);
            say(parent, &FromDispatcher::OutputEnd { source })
        }
        "a log line of no task" => say(parent, &logged(Source::Task(id + 1), LogLevel::Error, "x")),
        "output after the end" => {
            say(parent, &outcome(CallResult::Ok(b"0")))?;
            say(parent, &output(Source::Task(id)))
        }
        other => Err(format!("unknown forgery {other:?}")),
    }
}

/// Time for which it floods its parent, unless it is killed before.
const FLOOD: Duration = Duration::from_secs(2);

/// Sends the same message without end, as long as the parent reads.
fn flood(parent: &Channel, id: TaskId, what: &str) -> Result<(), String> {
    let note = "\u{1b}".repeat(MAX_NOTE);
    let text = "\u{1b}".repeat(MAX_LOG_TEXT);
    let event = || WorkerEvent {
        worker: WorkerNumber(0),
        pid: 1,
        task: None,
        what: note.clone(),
    };
    let until = clock::now() + FLOOD;
    if what == "half of a frame" {
        let send = |bytes: &[u8]| send_all(parent.as_fd(), bytes).map_err(|error| error.to_string());
        send(&(16_u32 << 20).to_le_bytes())?;
        send(&vec![0; (16 << 20) - 1])?;
        return Err("it is silent from here on".to_owned());
    }
    while clock::now() < until {
        let message = match what {
            "warnings" => FromDispatcher::Warning(&note),
            "failures of the pool" => FromDispatcher::Failed(&note),
            "loaded" => FromDispatcher::Loaded,
            "events" => FromDispatcher::Event(event()),
            "output" => printed(Source::Task(id), &[b'x'; OUTPUT_PIECE]),
            "lines" => printed(Source::Task(id), &[b'\n'; OUTPUT_PIECE]),
            "output of the callback" => printed(Source::Callback(id), &[b'x'; OUTPUT_PIECE]),
            "log" => logged(Source::Task(id), LogLevel::Error, &text),
            other => return Err(format!("unknown flood {other:?}")),
        };
        say(parent, &message)?;
    }
    Err("it has said enough".to_owned())
}

/// Returns a piece of output without a newline.
fn output(source: Source) -> FromDispatcher<'static> {
    printed(source, &[b'x'; 4000])
}

fn printed(source: Source, bytes: &[u8]) -> FromDispatcher<'_> {
    let stream = Stream::Stdout;
    FromDispatcher::Output {
        source,
        at: None,
        output: GuestOutput::Printed { stream, bytes },
    }
}

fn logged(source: Source, level: LogLevel, text: &str) -> FromDispatcher<'_> {
    FromDispatcher::Output {
        source,
        at: None,
        output: GuestOutput::Logged { level, text },
    }
}

fn say(parent: &Channel, message: &FromDispatcher<'_>) -> Result<(), String> {
    parent.send(message).map_err(|error| error.to_string())
}
