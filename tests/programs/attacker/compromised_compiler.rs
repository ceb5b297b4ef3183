//! A compromised compiler. The guest's first line, a comment, names its answer.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;

use crate::part::Part;
use mpwasm_protocol::channel::{Channel, send_all};
use mpwasm_protocol::messages::{FromCompiler, ToCompiler};
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
use mpwasm_types::role::Role;

/// Becomes a compiler that does what its guest says. Returns only when it can't, or when it has sent enough.
pub fn main(part: &Part) -> String {
    match serve(part) {
        Ok(()) => "nothing more is said".to_owned(),
        Err(why) => why,
    }
}

fn serve(part: &Part) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut parent = child::start_up().map_err(|error| error.to_string())?;
    let ToCompiler { jail, .. } = parent.receive().map_err(|error| text(&error))?;
    let mut guest = File::from(parent.take_descriptor().ok_or("no guest came")?);
    let plan = part.plan(jail);
    if let Some(plan) = &plan {
        jail::isolate(Role::Compiler, plan, []).map_err(|error| text(&error))?;
    }
    let mut bytes = String::new();
    guest
        .rewind()
        .and_then(|()| guest.read_to_string(&mut bytes))
        .map_err(|error| text(&error))?;
    if let Some(plan) = &plan {
        jail::lock_down(Role::Compiler, plan).map_err(|error| text(&error))?;
    }
    let order = bytes
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches([';', ' ']);
    obey(&parent, order).map_err(|error| text(&error))
}

fn obey(parent: &Channel, order: &str) -> std::io::Result<()> {
    let refused = |info| parent.send(&FromCompiler::Refused(info));
    match order {
        "models without end" => refused(GuestInfo {
            models: vec![model(); MANY],
            ..GuestInfo::default()
        }),
        "imports without end" => refused(GuestInfo {
            imports: vec![(String::new(), String::new()); MANY],
            ..GuestInfo::default()
        }),
        "refusals without end" => refused(GuestInfo {
            refusals: vec![String::new(); MANY],
            ..GuestInfo::default()
        }),
        "a long refusal" => refused(GuestInfo {
            refusals: vec!["x".repeat(MANY)],
            ..GuestInfo::default()
        }),
        "a reason without end" => parent.send(&FromCompiler::NotWasm(&"x".repeat(MANY))),
        "a frame without end" => send_all(parent.as_fd(), &u32::MAX.to_le_bytes()),
        "an artifact that is too large" => send_all(parent.as_fd(), &(1_u32 << 30).to_le_bytes()),
        "half of a frame" => {
            send_all(parent.as_fd(), &(64_u32 << 20).to_le_bytes())?;
            let piece = vec![0; 1 << 20];
            (1..64).try_for_each(|_| send_all(parent.as_fd(), &piece))
        }
        other => parent.send(&FromCompiler::NotWasm(&format!("an unknown order {other:?}"))),
    }
}

/// Number of elements of a list that is too long, or bytes of a text. Each element takes 24 bytes or more in the
/// receiver.
const MANY: usize = 10 << 20;

fn model() -> ModelInfo {
    ModelInfo {
        name: String::new(),
        runnable: String::new(),
        callback: None,
        error_callback: None,
        final_callback: None,
    }
}
