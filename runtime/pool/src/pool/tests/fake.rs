//! A backend in memory: the test sees what the pool sends, and says what happens.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use serde_json::value::RawValue;

use crate::backend::connection::{AnySender, Connection};
use crate::backend::{Backend, BackendDied, BackendEvent, EventSink, EventSource, NewGuest, TaskSender};
use crate::builder::Builder;
use crate::compile::compiled_guest::CompiledGuest;
use crate::error::Error;
use crate::guest::Guest;
use crate::pool::Pool;
use crate::sync::Mutex;
use mpwasm_protocol::messages::{ControlRequest, StatusReply, StatusRequest};
use mpwasm_protocol::request::RequestError;
use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::outcome::{CallbackStatus, Failure};
use mpwasm_types::retry::Retry;
use mpwasm_types::status::Status;
use mpwasm_types::task::{TaskInput, TaskSpec};

/// What the pool has sent to the backend.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    Task { id: u64, args: String },
    Chunk { id: u64, items: u32 },
    Exit,
    Control(ControlRequest),
}

/// What happens next in the backend.
#[derive(Debug)]
enum Step {
    Event(BackendEvent<'static>),
    /// The backend has ended, as it was asked to.
    End,
    /// It has ended for this reason.
    Die(&'static str),
}

/// A pool over a backend in memory.
pub struct FakePool {
    pub pool: Pool,
    pub guest: Guest,
    pub sent: Receiver<Sent>,
    pub control: Control,
}

/// Says what happens in the backend.
#[derive(Clone, Debug)]
pub struct Control(Sender<Step>);

impl Control {
    pub fn event(&self, event: BackendEvent<'static>) {
        let _ = self.0.send(Step::Event(event));
    }

    /// A task or item ends with this JSON.
    pub fn ok(&self, id: u64, json: &str) {
        self.ended(
            id,
            Ok(RawValue::from_string(json.to_owned()).expect("the test gives JSON")),
        );
    }

    pub fn ended(&self, id: u64, result: Result<Box<RawValue>, Failure>) {
        self.event(BackendEvent::Ended {
            id: TaskId(id),
            result,
            ran: None,
            callback: CallbackStatus::None,
        });
    }

    pub fn end(&self) {
        let _ = self.0.send(Step::End);
    }

    pub fn die(&self, why: &'static str) {
        let _ = self.0.send(Step::Die(why));
    }
}

#[derive(Debug)]
struct FakeBackend {
    sent: Mutex<Sender<Sent>>,
    control: Mutex<Sender<Step>>,
}

impl Backend for FakeBackend {
    fn load(&self, _: &NewGuest<'_>) -> Result<(), Error> {
        let loaded = self.control.lock().send(Step::Event(BackendEvent::Loaded));
        loaded.map_err(|_| Error::Closed)
    }

    fn control(&self, request: ControlRequest) {
        let _ = self.sent.lock().send(Sent::Control(request));
        if request == ControlRequest::Terminate {
            let _ = self.control.lock().send(Step::End);
        }
    }

    /// Returns that 7 callbacks run and 5 outcomes are sent.
    fn status(&self, _: StatusRequest) -> Result<StatusReply, RequestError> {
        let status = Status {
            callbacks: 7,
            ..Status::default()
        };
        Ok(StatusReply::Pool { status, outcomes: 5 })
    }
}

#[derive(Debug)]
struct FakeSender {
    batch: Vec<Sent>,
    sent: Sender<Sent>,
}

impl TaskSender for FakeSender {
    fn wait_for_room(&mut self, _: usize) {}

    fn submit(&mut self, id: DispatchId, spec: TaskSpec<&[u8]>, _: Option<Retry>) {
        self.batch.push(match spec.input {
            TaskInput::Chunk { items, .. } => Sent::Chunk { id: id.0, items },
            TaskInput::Json(args) | TaskInput::Command(args) => Sent::Task {
                id: id.0,
                args: String::from_utf8_lossy(args).into_owned(),
            },
        });
    }

    fn flush(&mut self) {
        for sent in self.batch.drain(..) {
            let _ = self.sent.send(sent);
        }
    }

    fn finish(&mut self) {
        self.batch.push(Sent::Exit);
        self.flush();
    }
}

struct FakeSource {
    steps: Receiver<Step>,
    died: Option<BackendDied>,
}

impl EventSource for FakeSource {
    fn receive(&mut self, sink: &mut impl EventSink) {
        loop {
            let step = self.steps.try_recv().or_else(|_| {
                sink.batch_ended();
                self.steps.recv()
            });
            let why = match step {
                Ok(Step::Event(event)) => match sink.event(event) {
                    Ok(()) => continue,
                    Err(why) => why.to_string(),
                },
                Ok(Step::Die(why)) => why.to_owned(),
                Ok(Step::End) | Err(_) => return,
            };
            self.died = Some(BackendDied { why });
            return;
        }
    }

    fn end(self) -> Result<(), BackendDied> {
        self.died.map_or(Ok(()), Err)
    }
}

/// Starts a pool over a backend in memory, with one guest of one model.
pub fn start(builder: Builder) -> FakePool {
    let (sender, sent) = mpsc::channel();
    let (control, steps) = mpsc::channel();
    let backend = FakeBackend {
        sent: Mutex::new(sender.clone()),
        control: Mutex::new(control.clone()),
    };
    let connect = move || {
        Ok(Connection {
            backend: Box::new(backend),
            sender: AnySender::Other(Box::new(FakeSender {
                batch: Vec::new(),
                sent: sender,
            })),
            source: FakeSource { steps, died: None },
        })
    };
    // It is never executed: the guest is not compiled.
    let pool = builder.executable("/proc/self/exe").start_over(connect);
    let pool = pool.expect("the settings are valid");
    let guest = pool.load_compiled("guest", [0; 32], Arc::new(compiled()));
    let guest = guest.expect("the backend loads it");
    FakePool {
        pool,
        guest,
        sent,
        control: Control(control),
    }
}

fn compiled() -> CompiledGuest {
    let model = ModelInfo {
        name: String::new(),
        runnable: "runnable".to_owned(),
        callback: None,
        error_callback: None,
        final_callback: None,
    };
    CompiledGuest {
        info: GuestInfo {
            models: vec![model],
            ..GuestInfo::default()
        },
        artifact: File::open("/dev/null").expect("there is a null device"),
        checked_artifact: None,
    }
}
