//! The data of an instance's store.
//!
//! For fresh instances the same [`InstanceState`] serves one call after the other, so that its buffers are not allocated anew.
//! A kept instance has one of its own. The imports in [`host`](crate::abi::host) and
//! [`wasi`](crate::wasi) work on it.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::Memory;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::abi::call::{Call, CallReport, Export};
use crate::deadline::Deadline;
use crate::limits::InstanceLimits;
use crate::open_objects::OpenObjects;
use crate::output::{CallOutput, OutputSink};
use crate::pusher::Pusher;
use crate::wasi::context;
use crate::wasi::stdin::Stdin;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Granted;
use mpwasm_types::ids::TaskId;
use mpwasm_types::invocation::Invocation;
use mpwasm_types::memory::MAX_RETAINED_BUFFER;
use mpwasm_types::outcome::Failure;
use mpwasm_types::settings::{Interrupt, Terminals};
use mpwasm_types::task::TaskInput;

/// Buffers for the input and the output of calls. Between calls each has at most [`MAX_RETAINED_BUFFER`] bytes.
#[derive(Default)]
pub(crate) struct CallBuffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl CallBuffers {
    /// Returns their capacity, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }
}

/// State of an instance and of the call that runs in it.
pub(crate) struct InstanceState {
    /// This call's input.
    pub(crate) input: Vec<u8>,
    /// This call's output so far.
    pub(crate) output: Vec<u8>,
    /// Largest size of `output`, in bytes.
    pub(crate) max_result: u64,
    pub(crate) task_id: TaskId,
    pub(crate) attempt: u32,
    /// The export that is called.
    pub(crate) export: Export,
    pub(crate) pusher: Option<Box<dyn Pusher>>,
    /// The shared objects that the call has open. `None` until a client is set or an import of objects is used.
    pub(crate) objects: Option<Box<OpenObjects>>,
    /// The instance's memory, once the instance exists or an import has looked it up.
    pub(crate) memory: Option<Memory>,
    pub(crate) limits: InstanceLimits,
    pub(crate) deadline: Arc<Deadline>,
    pub(crate) printed: Arc<CallOutput>,
    /// Seeded once, so that random bytes for a guest cost no system call. Boxed because the state moves into a store and out
    /// again at each call.
    pub(crate) random: Box<StdRng>,
    pub(crate) pid: u32,
    /// Largest output of a call, in bytes.
    max_output: u64,
    /// Whether calls into the host check the deadline, since the guest's code does not.
    pub(crate) checks_host_calls: bool,
    /// Whether a command's streams are captured.
    captures: bool,
    /// Whether the running call is a command's.
    is_command: bool,
    /// Arguments of a command. Empty for other calls.
    argv: Vec<String>,
    pub(crate) stdin: Arc<Stdin>,
    /// Which of a command's streams are terminals.
    terminals: Terminals,
    /// Directories and variables that a task gets beside its input.
    pub(crate) granted: Arc<Granted>,
    /// WASI context, made at the first WASI call that needs it. Most calls need none.
    wasi: Option<Box<WasiP1Ctx>>,
}

impl InstanceState {
    pub(crate) fn new(
        settings: &EngineSettings,
        deadline: Arc<Deadline>,
        prints: Arc<dyn OutputSink>,
    ) -> Self {
        Self {
            input: Vec::new(),
            output: Vec::new(),
            max_result: settings.max_result,
            task_id: TaskId(0),
            attempt: 0,
            export: Export::Runnable,
            pusher: None,
            objects: None,
            memory: None,
            limits: InstanceLimits::new(settings.memory, settings.max_table),
            stdin: Arc::new(Stdin::new(deadline.clone())),
            deadline,
            printed: Arc::new(CallOutput::new(prints)),
            random: Box::new(StdRng::from_os_rng()),
            pid: std::process::id(),
            max_output: settings.max_output,
            checks_host_calls: settings.interrupt == Interrupt::Signal,
            captures: settings.capture,
            is_command: false,
            argv: Vec::new(),
            terminals: settings.terminals,
            granted: Arc::default(),
            wasi: None,
        }
    }

    /// Prepares for a new instance. Drops what belonged to the previous one.
    pub(crate) fn renew(&mut self, limits: InstanceLimits) {
        self.memory = None;
        self.end_wasi();
        self.limits = limits;
    }

    /// Starts a new call. The input of a command is left to [`begin_command`](Self::begin_command).
    pub(crate) fn begin(&mut self, call: &Call<'_>) {
        self.input.clear();
        if let TaskInput::Json(json) = call.input {
            self.input.extend_from_slice(json);
        }
        self.output.clear();
        self.task_id = call.task_id;
        self.attempt = call.attempt;
        self.export = call.export;
        self.printed.begin(self.max_output);
        self.end_command();
    }

    /// Swaps the buffers of this state with others.
    pub(crate) fn exchange(&mut self, buffers: &mut CallBuffers) {
        std::mem::swap(&mut self.input, &mut buffers.input);
        std::mem::swap(&mut self.output, &mut buffers.output);
    }

    /// Returns the capacity of its buffers, in bytes.
    #[cfg(test)]
    pub(crate) fn buffers(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Prepares the call to run a command. Returns `false` if these bytes are no [`Invocation`].
    pub(crate) fn begin_command(&mut self, invocation: &[u8]) -> bool {
        let Some(Invocation { argv, stdin }) = Invocation::decode(invocation) else {
            return false;
        };
        self.argv = argv;
        self.stdin.open(stdin);
        self.is_command = true;
        if self.captures {
            self.printed.capture();
        }
        true
    }

    /// Returns whether a command's streams are captured.
    pub(crate) fn captures(&self) -> bool {
        self.captures
    }

    /// Returns the report on the call, which ended with this result.
    pub(crate) fn report(&self, result: Result<String, Failure>) -> CallReport {
        CallReport {
            result,
            memory_peak: self.limits.peak(),
            stdout_bytes: self.printed.stdout_bytes(),
            output_truncated: self.printed.truncated(),
        }
    }

    /// Ends the call, whose output was used. Closes its shared objects, frees large buffers.
    pub(crate) fn end(&mut self, succeeded: bool) {
        self.printed.end();
        self.end_command();
        if let Some(objects) = &mut self.objects {
            objects.end_call(succeeded);
        }
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.capacity() > MAX_RETAINED_BUFFER {
                *buffer = Vec::new();
            }
        }
    }

    /// Drops the arguments and the stdin of a call that ran a command.
    fn end_command(&mut self) {
        // Checked first: this runs for every task, and few are commands.
        if std::mem::take(&mut self.is_command) {
            self.argv.clear();
            self.stdin.close();
        }
    }

    /// Returns whether the instance has a WASI context.
    pub(crate) fn has_wasi(&self) -> bool {
        self.wasi.is_some()
    }

    /// Drops the WASI context of an instance that is gone, with all files that are open in it.
    pub(crate) fn end_wasi(&mut self) {
        self.wasi = None;
    }

    /// Returns the instance's WASI context. Makes it if there is none yet.
    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.wasi.get_or_insert_with(|| {
            Box::new(context::context(
                &self.printed,
                &self.argv,
                &self.stdin,
                self.terminals,
                &self.granted,
            ))
        })
    }
}
