//! Compiles a file that may be a guest, checks and loads it, and runs its models.

use serde_json::value::RawValue;

use super::Verdict;
use super::rig::{COMPILER_STACK, Rig, on_thread, settings};
use mpwasm_engine::{Compiled, EngineRole, Export, compile};
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::invocation::Invocation;
use mpwasm_types::task::TaskInput;

/// Number of a guest's models that are run. Running more is not worth the time.
const MODELS: u32 = 3;
/// Longest message about a guest, in bytes. It may quote the engine, which may quote the guest.
const READABLE: usize = 16 << 10;

/// Handles `input` as the file of a guest.
///
/// # Panics
/// When the compiler accepts a guest that a worker does not, or when the guest gets out of its bounds.
#[must_use]
pub fn guest(input: &[u8]) -> Verdict {
    let limits = EngineSettings::from(&settings());
    let mut info = GuestInfo::default();
    let compiled = on_thread(COMPILER_STACK, || {
        compile(input, &limits, None, |checked| info = checked)
    });
    match compiled {
        Compiled::NotWasm(why) => {
            assert_readable(&why);
            Verdict::Refused
        }
        Compiled::Refused(info) => {
            assert!(!info.refusals.is_empty(), "refused for no reason");
            info.refusals
                .iter()
                .chain(&info.warnings)
                .for_each(|line| assert_readable(line));
            Verdict::Refused
        }
        Compiled::Accepted(_) if !info.initial.above(&limits).is_empty() => Verdict::Refused,
        Compiled::Accepted(artifact) => {
            info.warnings.iter().for_each(|line| assert_readable(line));
            run(&info, &artifact);
            Verdict::Taken
        }
    }
}

fn assert_readable(line: &str) {
    assert_eq!(escape(line), line, "not inert");
    assert!(line.len() <= READABLE, "a sentence of {} bytes", line.len());
}

/// Runs the guest's exports, each in its role.
fn run(info: &GuestInfo, artifact: &[u8]) {
    let models = || (0..MODELS).zip(&info.models);
    let args = RawValue::from_string("[\"1\",\"two\"]".to_owned()).expect("it is JSON");
    let invocation = Invocation::new("guest", &args, b"some\nlines\n").expect("the args are strings");
    let invocation = invocation.encode();
    let input = match info.is_command {
        false => TaskInput::Json(args.get().as_bytes()),
        true => TaskInput::Command(&invocation[..]),
    };
    let mut worker = Rig::new(EngineRole::Worker, info, artifact);
    for (index, _) in models() {
        // Twice: the second time the instance replaces one that is gone.
        for _ in 0..2 {
            let _ = worker.call(Export::Runnable, index, input);
        }
    }
    if info
        .models
        .iter()
        .any(|model| model.callback.is_some() || model.error_callback.is_some())
    {
        let mut callbacks = Rig::new(EngineRole::Callbacks, info, artifact);
        for (index, model) in models() {
            if model.callback.is_some() {
                let _ = callbacks.call(Export::Callback, index, TaskInput::Json(b"{\"a\":1}"));
            }
            if model.error_callback.is_some() {
                let _ = callbacks.call(
                    Export::ErrorCallback,
                    index,
                    TaskInput::Json(b"{\"kind\":\"error\"}"),
                );
            }
        }
    }
    if info.has_tasks {
        let _ = Rig::new(EngineRole::Tasks, info, artifact).call(Export::Tasks, 0, TaskInput::Json(b"null"));
    }
}
