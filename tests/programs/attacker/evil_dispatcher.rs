//! The dispatcher that was taken over, through a callback say. It has no workers: it does what a task's args name
//! itself, and forges an outcome that tells what came of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use crate::calls::{Attempted, attempt};
use crate::grants::Granted;
use crate::outcome::{Attempt, CallbackStatus, Kind};
use crate::process::{self, Role};
use crate::wire::channel::{Channel, Filled};
use crate::wire::frame::decode;
use crate::wire::inbox::Inbox;
use crate::wire::messages::{Ending, FromDispatcher, Pushed, ToDispatcher};
use crate::{Part, jail};

/// Becomes a dispatcher that obeys its tasks. Returns only when it can't.
pub fn main(part: &Part) -> String {
    match serve(part) {
        Ok(()) => "the pool is over".to_owned(),
        Err(why) => why,
    }
}

fn serve(part: &Part) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut parent = process::enter()?;
    let ToDispatcher::Start { jail, settings, .. } = parent.receive().map_err(|error| text(&error))? else {
        return Err("no start came".to_owned());
    };
    let mut tasks = File::from(parent.take_descriptor().ok_or("no pipe came")?);
    let granted = Granted::new(settings.grants, || {
        parent.take_descriptor().ok_or("no directory came")
    })?;
    if let Some(plan) = part.plan(jail) {
        jail::shut_in(Role::Dispatcher, &plan, &granted.dirs).map_err(|error| text(&error))?;
        jail::lock(Role::Dispatcher, &plan).map_err(|error| text(&error))?;
    }
    // The guest: the tests load one, and then push.
    let ToDispatcher::Load { .. } = parent.receive().map_err(|error| text(&error))? else {
        return Err("no guest came".to_owned());
    };
    say(&parent, &FromDispatcher::Loaded)?;
    let mut inbox = Inbox::new(1 << 20);
    loop {
        let count = tasks.read(inbox.space()).map_err(|error| text(&error))?;
        if count == 0 {
            return Ok(());
        }
        inbox.filled(count);
        while let Some(frame) = inbox.next().map_err(|error| text(&error))? {
            match decode(frame).map_err(|error| text(&error))? {
                Pushed::Task { id, args, .. } => obey(&parent, id, args)?,
                Pushed::Chunk { .. } => return Err("no test sends it a chunk".to_owned()),
                Pushed::Exit => return say(&parent, &FromDispatcher::Bye),
            }
        }
    }
}

fn obey(parent: &Channel, id: u64, args: &[u8]) -> Result<(), String> {
    let args: Vec<String> = serde_json::from_slice(args).unwrap_or_default();
    let word = |index: usize| args.get(index).map_or("", String::as_str);
    if word(0) == "forge" {
        return forge(parent, id, word(1));
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
            ending: Ending::Ok(format!("\"{told}\"").as_bytes()),
            ran: None,
            callback: CallbackStatus::None,
        },
    )
}

/// Tells what can't be.
fn forge(parent: &Channel, id: u64, what: &str) -> Result<(), String> {
    let tried = |attempt: u32| FromDispatcher::Tried {
        id,
        attempt: Attempt {
            attempt,
            kind: Kind::Crash,
            message: "x".repeat(100_000),
            worker: 0,
            pid: 1,
            run_us: 0,
        },
    };
    let fold = |guest: u32, model: u32| FromDispatcher::Final {
        guest,
        model,
        ending: Ending::Ok(b"0"),
    };
    match what {
        "the second attempt first" => say(parent, &tried(2)),
        "attempts without end" => (1..).try_for_each(|attempt| say(parent, &tried(attempt))),
        "a fold of no guest" => say(parent, &fold(1, 0)),
        "a fold of no model" => say(parent, &fold(0, 64)),
        "a fold twice" => (0..2).try_for_each(|_| say(parent, &fold(0, 0))),
        other => Err(format!("unknown forgery {other:?}")),
    }
}

fn say(parent: &Channel, message: &FromDispatcher<'_>) -> Result<(), String> {
    parent.send(message).map_err(|error| error.to_string())
}
