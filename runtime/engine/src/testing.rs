//! Support for the tests of this crate: guests from text, an executor that runs them, and a watchdog.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{
    Call, CallReport, Compiled, Deadline, EngineRole, Executor, Export, OutputSink, compile, signal,
};
use mpwasm_system::clock;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::invocation::Invocation;
use mpwasm_types::memory::thread_stack;
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::settings::Settings;
use mpwasm_types::task::TaskInput;
use mpwasm_types::time::Time;

/// Keeps what guests print.
#[derive(Default)]
pub(crate) struct Recorder {
    stdout: Mutex<Vec<u8>>,
    stderr: Mutex<Vec<u8>>,
    logs: Mutex<Vec<(LogLevel, String)>>,
}

impl Recorder {
    pub(crate) fn stdout(&self) -> Vec<u8> {
        self.stdout.lock().unwrap().clone()
    }
    pub(crate) fn stderr(&self) -> Vec<u8> {
        self.stderr.lock().unwrap().clone()
    }
    pub(crate) fn logs(&self) -> Vec<(LogLevel, String)> {
        self.logs.lock().unwrap().clone()
    }
}

impl OutputSink for Recorder {
    fn print(&self, stream: Stream, bytes: &[u8]) {
        let kept = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        kept.lock().unwrap().extend_from_slice(bytes);
    }
    fn log(&self, level: LogLevel, text: &str) {
        self.logs.lock().unwrap().push((level, text.to_owned()));
    }
}

/// The settings of most tests: a memory cap of 1 MiB, results of 1 KiB, output of 100 bytes.
pub(crate) fn settings() -> EngineSettings {
    EngineSettings {
        memory: 1 << 20,
        max_result: 1024,
        max_output: 100,
        ..EngineSettings::from(&Settings::default())
    }
}

/// What `compile` says to a guest that it must accept.
pub(crate) fn accepted(
    guest: &(impl AsRef<[u8]> + ?Sized),
    settings: &EngineSettings,
) -> (GuestInfo, Vec<u8>) {
    let mut info = GuestInfo::default();
    match compile(guest.as_ref(), settings, None, |checked| info = checked) {
        Compiled::Accepted(artifact) => (info, artifact),
        other => panic!("{other:?}"),
    }
}

/// The reasons for which a guest is refused, those of limits last.
pub(crate) fn refusals(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut info = GuestInfo::default();
    match compile(bytes.as_ref(), &settings(), None, |checked| info = checked) {
        Compiled::Refused(refused) => info = refused,
        Compiled::Accepted(_) => {}
        Compiled::NotWasm(why) => panic!("{why}"),
    }
    let reasons = [info.refusals, info.initial.above(&settings())].concat();
    assert!(!reasons.is_empty(), "it is accepted");
    reasons
}

/// An executor and what surrounds it in a worker.
pub(crate) struct Rig {
    pub(crate) executor: Executor,
    pub(crate) deadline: Arc<Deadline>,
    pub(crate) prints: Arc<Recorder>,
}

impl Rig {
    /// A worker with one guest of number 0.
    pub(crate) fn new(wat: &str) -> Self {
        Self::with(EngineRole::Worker, &settings(), wat)
    }

    pub(crate) fn with(role: EngineRole, settings: &EngineSettings, wat: &str) -> Self {
        let (deadline, prints) = (Arc::new(Deadline::new()), Arc::new(Recorder::default()));
        let executor = Executor::new(role, settings, deadline.clone(), prints.clone()).unwrap();
        let mut rig = Self {
            executor,
            deadline,
            prints,
        };
        let (info, artifact) = accepted(wat, settings);
        rig.executor.load(memfd(&artifact), &info).unwrap();
        rig.executor.accept_signals().unwrap();
        rig
    }

    /// Loads one more guest, which gets the next number.
    pub(crate) fn load(&mut self, wat: &str) {
        let (info, artifact) = accepted(wat, &settings());
        self.executor.load(memfd(&artifact), &info).unwrap();
    }

    /// Runs one call that must end within a minute by itself.
    pub(crate) fn call(&mut self, export: Export, input: &str) -> CallReport {
        self.call_of(GuestId(0), export, input)
    }

    /// As [`call`](Self::call), of the guest with this number.
    pub(crate) fn call_of(&mut self, guest: GuestId, export: Export, input: &str) -> CallReport {
        self.deadline.arm(clock::now() + Duration::from_secs(60));
        let call = Call {
            guest,
            ..call(export, ModelId(0), input)
        };
        let report = self.executor.run(&call);
        assert!(self.deadline.disarm());
        report
    }

    /// As [`call`](Self::call), in the kept instance of `model`, which may have 1 MiB.
    pub(crate) fn kept(&mut self, export: Export, model: u32) -> CallReport {
        self.deadline.arm(clock::now() + Duration::from_secs(60));
        let report = self
            .executor
            .run_kept(&call(export, ModelId(model), "null"), 1 << 20);
        assert!(self.deadline.disarm());
        report
    }

    /// Runs a command with this [`invocation`], as [`call`](Self::call) runs an export.
    pub(crate) fn command(&mut self, invocation: &[u8]) -> CallReport {
        self.deadline.arm(clock::now() + Duration::from_secs(60));
        let report = self.executor.run(&command_call(invocation));
        assert!(self.deadline.disarm());
        report
    }

    /// Runs `runnable` with a deadline in 100 ms and a watchdog that enforces it: long enough to get into the
    /// guest on a busy machine.
    pub(crate) fn timed(&mut self) -> CallReport {
        self.timed_call(&call(Export::Runnable, ModelId(0), "[]"))
    }

    fn timed_call(&mut self, call: &Call<'_>) -> CallReport {
        let at = clock::now() + Duration::from_millis(100);
        self.watched(at, |rig| {
            rig.deadline.arm(at);
            let report = rig.executor.run(call);
            assert!(rig.deadline.disarm());
            assert!(clock::now() >= at, "ended before its deadline: {report:?}");
            report
        })
    }

    /// As [`timed`](Self::timed), for a call whose deadline passes `place`. On a busy machine it may pass before that: the call is
    /// then made again, three times at most.
    pub(crate) fn timed_out(&mut self, place: &str) -> Failure {
        self.call_timed_out(&call(Export::Runnable, ModelId(0), "[]"), place)
    }

    /// As [`timed_out`](Self::timed_out), for a command with this [`invocation`].
    pub(crate) fn command_timed_out(&mut self, invocation: &[u8]) -> Failure {
        self.call_timed_out(&command_call(invocation), "in `_start`")
    }

    fn call_timed_out(&mut self, call: &Call<'_>, place: &str) -> Failure {
        let passed = format!("the deadline passed {place}");
        let mut tries = (0..3).map(|_| ended(Kind::Timeout, self.timed_call(call)));
        tries
            .find(|failure| failure.message == passed)
            .unwrap_or_else(|| panic!("never {place}"))
    }

    /// Cancels the call that `run` makes, once it has logged that it is about to wait. Returns its failure. The epoch stays, so
    /// the wait itself has to end the call.
    pub(crate) fn cancelled_in_wait(&mut self, run: impl FnOnce(&mut Self) -> CallReport) -> Failure {
        self.cancelled(|| (), run)
    }

    /// Cancels `runnable`, once it has logged that it is about to loop, and increments the epoch. Returns its failure.
    pub(crate) fn cancelled_in_loop(&mut self) -> Failure {
        let engine = self.executor.engine().clone();
        self.cancelled(
            move || engine.increment_epoch(),
            |rig| rig.call(Export::Runnable, "[]"),
        )
    }

    fn cancelled(
        &mut self,
        interrupt: impl FnOnce() + Send,
        run: impl FnOnce(&mut Self) -> CallReport,
    ) -> Failure {
        let (deadline, prints) = (self.deadline.clone(), self.prints.clone());
        thread::scope(|scope| {
            scope.spawn(move || {
                while prints.logs().is_empty() {
                    thread::yield_now();
                }
                deadline.cancel_running();
                interrupt();
            });
            ended(Kind::Cancelled, run(self))
        })
    }

    /// Runs `body` while a second thread does what a watchdog does: from `at` on, it wakes what sleeps, increments the epoch and
    /// sends signals, until `body` has ended.
    pub(crate) fn watched<R>(&mut self, at: Time, body: impl FnOnce(&mut Self) -> R) -> R {
        let (engine, deadline) = (self.executor.engine().clone(), self.deadline.clone());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(at.since(clock::now()));
                while !over.load(Ordering::Acquire) {
                    deadline.expire();
                    engine.increment_epoch();
                    deadline.thread().into_iter().for_each(signal::send);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            // Also when `body` panics: the scope waits for the thread.
            let _end = SetOnDrop(&over);
            body(self)
        })
    }
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Call number 7, attempt 2.
pub(crate) fn call(export: Export, model: ModelId, input: &str) -> Call<'_> {
    Call {
        guest: GuestId(0),
        model,
        export,
        input: TaskInput::Json(input.as_bytes()),
        task_id: TaskId(7),
        attempt: 2,
    }
}

/// A command's call, otherwise as [`call`].
pub(crate) fn command_call(invocation: &[u8]) -> Call<'_> {
    Call {
        input: TaskInput::Command(invocation),
        ..call(Export::Runnable, ModelId(0), "")
    }
}

/// The encoded invocation of `guest.wasm` with these arguments.
pub(crate) fn invocation(args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let args = serde_json::value::to_raw_value(args).unwrap();
    Invocation::new("guest.wasm", &args, stdin).unwrap().encode()
}

/// A command whose `_start` does `body`, an expression list that leaves nothing.
pub(crate) fn command(body: &str) -> String {
    guest(&format!("(func (export \"_start\") {body})"))
}

pub(crate) fn memfd(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

/// The `runnable` of a guest whose body is `code`; it may use all imports of ours and some of WASI.
pub(crate) fn guest(code: &str) -> String {
    format!(
        r#"(module
            (import "mpwasm_v1" "input_len" (func $input_len (result i32)))
            (import "mpwasm_v1" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
            (import "mpwasm_v1" "output_write" (func $output_write (param i32 i32)))
            (import "mpwasm_v1" "fail" (func $fail (param i32 i32)))
            (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
            (import "mpwasm_v1" "pid" (func $pid (result i32)))
            (import "mpwasm_v1" "task_id" (func $task_id (result i64)))
            (import "mpwasm_v1" "attempt" (func $attempt (result i32)))
            (import "mpwasm_v1" "remaining_ms" (func $remaining_ms (result i64)))
            (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
            (import "mpwasm_v1" "object_open" (func $object_open (param i32 i32) (result i32)))
            (import "mpwasm_v1" "object_call"
                (func $object_call (param i32 i32 i32 i32 i32 i64) (result i32)))
            (import "mpwasm_v1" "object_reply_len" (func $object_reply_len (result i32)))
            (import "mpwasm_v1" "object_reply" (func $object_reply (param i32 i32 i32) (result i32)))
            (import "mpwasm_v1" "object_info" (func $object_info (param i32) (result i64)))
            (import "mpwasm_v1" "number_int"
                (func $number_int (param i32 i32 i32 i64 i64) (result i64)))
            (import "mpwasm_v1" "number_float"
                (func $number_float (param i32 i32 i32 f64 f64) (result f64)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $clock_time_get (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get"
                (func $environ_sizes_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get"
                (func $args_sizes_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (table $table 1 funcref)
            {code})"#
    )
}

/// A guest whose `runnable` does `body`, an expression list that leaves an i32.
pub(crate) fn runnable(body: &str) -> String {
    guest(&format!("(func (export \"runnable\") (result i32) {body})"))
}

/// Runs `body` as a `runnable` in a worker.
pub(crate) fn run(body: &str) -> CallReport {
    Rig::new(&runnable(body)).call(Export::Runnable, "[1,2]")
}

/// The failure of a `runnable` that must end as `kind`.
pub(crate) fn fails(kind: Kind, body: &str) -> Failure {
    ended(kind, run(body))
}

pub(crate) fn ended(kind: Kind, report: CallReport) -> Failure {
    let failure = report.result.expect_err("this must fail");
    assert_eq!(failure.kind, kind, "{failure:?}");
    failure
}

/// Runs `body` on a thread with the stack that guests need.
pub(crate) fn on_task_thread<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(thread_stack(Settings::default().stack));
        thread.spawn_scoped(scope, body).unwrap().join().unwrap()
    })
}
