//! `mpwasm doctor`: shows which layers of the jail this machine supports, and runs a task behind them and one with a scratch
//! directory.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, anyhow};
use mpwasm::{Builder, LayerState, Pool, SandboxLayer};

use crate::process::exit::{Exit, ExitError};
use crate::terminal::stdio;

/// The smallest guest: a task that does nothing.
const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

/// Size of the scratch directory that is tried: 64 KiB, enough for any file system's minimum.
const SCRATCH: u64 = 64 << 10;

/// Prints the report. The exit code says whether all mandatory layers are active.
pub fn doctor() -> Result<Exit, ExitError> {
    let layers = SandboxLayer::ALL.map(|layer| (layer, layer.state()));
    let mut text = table(&layers);
    let mut has_run = true;
    let are_active = layers
        .iter()
        .all(|(layer, state)| !layer.is_mandatory() || matches!(state, LayerState::Active(_)));
    match describe_worker() {
        Ok(found) => {
            _ = writeln!(text, "\nA task ran behind them: {found}.");
            // A missing scratch directory does not change the exit code.
            _ = writeln!(text, "{}.", scratch());
        }
        Err(error) => {
            has_run = false;
            _ = writeln!(text, "\nA task could not be run behind them: {error:#}");
        }
    }
    let verdict = match (are_active, has_run) {
        (true, true) => "Every mandatory layer holds: `mpwasm run --jail strict` starts here.",
        (true, false) => "No task could be run, though every mandatory layer is active.",
        (false, _) => {
            "A mandatory layer is missing: guests are held by WebAssembly and by what is active above."
        }
    };
    _ = writeln!(text, "{verdict}");
    stdio::write_result(text.as_bytes())?;
    Ok(if are_active && has_run {
        Exit::Success
    } else {
        Exit::JailIncomplete
    })
}

fn table(layers: &[(SandboxLayer, LayerState)]) -> String {
    let mut text = String::new();
    for (layer, state) in layers {
        let (mark, what) = match state {
            LayerState::Active(what) => ("active", what),
            LayerState::Missing(why) => ("missing", why),
        };
        let mandatory = if layer.is_mandatory() { ", mandatory" } else { "" };
        _ = writeln!(text, "{:18} {mark:8} {what}{mandatory}", layer.name());
        if mark == "missing" {
            _ = writeln!(text, "{:27} nothing else stops: {}", "", layer.stops());
        }
    }
    text
}

/// Runs a task. Returns the pool and the id of the process that ran the task.
fn run_task(builder: Builder) -> anyhow::Result<(Pool, u32)> {
    let pool = builder.size(1).start()?;
    let guest = pool.load_bytes("the doctor's guest", GUEST.as_bytes())?;
    let outcome = pool.submit(guest.task([0_u8; 0]))?.wait();
    if let Err(error) = outcome.result {
        return Err(anyhow!("{}: {}", error.kind, error.message));
    }
    Ok((pool, outcome.usage.pid.context("no worker ran it")?))
}

/// Runs a task and describes the worker's state by its `/proc` entry.
fn describe_worker() -> anyhow::Result<String> {
    let (pool, pid) = run_task(Pool::builder())?;
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("its worker can't be looked at")?;
    pool.stop()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':'))
            .map_or("?", str::trim)
            .to_owned()
    };
    Ok(format!(
        "its worker has seccomp mode {} (2 is a filter), no_new_privs {}, capabilities {} of {}",
        field("Seccomp"),
        field("NoNewPrivs"),
        field("CapEff"),
        field("CapBnd"),
    ))
}

/// Runs a task with a scratch directory and describes the result.
fn scratch() -> String {
    let ran = run_task(Pool::builder().tmp(SCRATCH)).and_then(|(pool, _)| Ok(pool.stop()?));
    match ran {
        Ok(()) => "A task had a scratch directory: `--tmp` works here".to_owned(),
        Err(error) if matches!(error.downcast_ref(), Some(mpwasm::Error::BadSetting(_))) => {
            format!("No task can have a scratch directory, `--tmp` is refused: {error:#}")
        }
        Err(error) => format!("It could not be tried whether a task can have a scratch directory: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_layer_is_listed_with_its_purpose() {
        let layers = [
            (SandboxLayer::Seccomp, LayerState::Active("all of it".into())),
            (
                SandboxLayer::Landlock,
                LayerState::Missing("an old kernel".into()),
            ),
        ];
        let text = table(&layers);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "seccomp            active   all of it, mandatory");
        assert_eq!(lines[1], "Landlock           missing  an old kernel, mandatory");
        assert!(lines[2].contains("nothing else stops: opening files"), "{text}");
        assert_eq!(lines.len(), 3);
    }
}
