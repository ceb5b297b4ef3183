//! Measures a call in a fresh instance, from its input to its result. It is a worker's cost per task without messages.

use std::io::Write;
use std::sync::Arc;

use divan::Bencher;
use nix::sys::memfd::{MFdFlags, memfd_create};

use mpwasm_engine::{Call, Compiled, Deadline, EngineRole, Executor, Export, OutputSink, compile};
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::outcome::{LogLevel, Stream};
use mpwasm_types::settings::Settings;
use mpwasm_types::task::TaskInput;
use mpwasm_types::time::Time;

/// A guest that returns its input.
const COPY: &str = include_str!("../pool/copy.wat");

struct Nobody;

impl OutputSink for Nobody {
    fn print(&self, _: Stream, _: &[u8]) {}
    fn log(&self, _: LogLevel, _: &str) {}
}

/// Measures a call. The argument is the length of a string in the args, in bytes.
#[divan::bench(args = [0, 1 << 10, 1 << 20])]
fn fresh_instance(bencher: Bencher<'_, '_>, bytes: usize) {
    let settings = EngineSettings::from(&Settings::default());
    let mut info = GuestInfo::default();
    let Compiled::Accepted(artifact) = compile(COPY.as_bytes(), &settings, None, |checked| info = checked)
    else {
        panic!("the guest is in order");
    };
    let file = memfd_create(c"artifact", MFdFlags::MFD_CLOEXEC).expect("memory");
    let mut file = std::fs::File::from(file);
    file.write_all(&artifact).expect("memory");
    let deadline = Arc::new(Deadline::new());
    let mut executor = Executor::new(
        EngineRole::Worker,
        &settings,
        Arc::clone(&deadline),
        Arc::new(Nobody),
    )
    .expect("the settings are valid");
    executor.load(file, &info).expect("it was compiled just now");
    let input = format!("[\"{}\"]", "x".repeat(bytes));
    let call = Call {
        guest: GuestId(0),
        model: ModelId(0),
        export: Export::Runnable,
        input: TaskInput::Json(input.as_bytes()),
        task_id: TaskId(0),
        attempt: 1,
    };
    bencher.bench_local(|| {
        deadline.arm(Time::NEVER);
        let report = executor.run(&call);
        assert!(deadline.disarm() && report.result.is_ok());
        report
    });
}
