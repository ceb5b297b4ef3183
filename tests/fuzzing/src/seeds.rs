//! Messages of processes, most of them honest: inputs from which a fuzzer of `frames` starts. They are in the corpus, and
//! also here, so that none is forgotten when the messages change.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::Verdict;
use super::frames::settings;
use mpwasm_protocol::frame::put;
use mpwasm_protocol::messages::{
    CallResult, ControlRequest, DispatcherStart, Execution, FromCompiler, FromDispatcher, FromManager,
    FromTasks, FromWorker, GuestOutput, ManagerStart, OperationReply, OwnerRequest, ResourceUsage, Source,
    StatusReply, StatusRequest, Submission, ToCompiler, ToDispatcher, ToManager, ToTasks, ToWorker,
    WorkerStart,
};
use mpwasm_protocol::request::{Reply, Request};
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, OfferId, RequestId, TaskId, WorkerNumber};
use mpwasm_types::items;
use mpwasm_types::objects::{
    CallNumber, CallSource, GrantedName, HoldingCall, ObjectError, ObjectErrorKind, ObjectId, ObjectKind,
    ObjectSpec, ObjectsStatus, RequestedObject, Token, WaitingCall,
};
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, Kind, LogLevel, Stream};
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Settings, Terminals};
use mpwasm_types::status::{Status, TaskStatus, TaskWait, WorkerState, WorkerStatus};
use mpwasm_types::task::{TaskInput, TaskSpec};
use mpwasm_types::time::Time;

const SECOND: Duration = Duration::from_secs(1);

/// Returns each input with the name of its file and its verdict.
pub(super) fn inputs() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let worker_says = |json| said(2, &ended(CallResult::Ok(json)));
    let dispatcher_says = |ending| said(3, &outcome(ending, CallbackStatus::None));
    let data = Failure {
        data: Some("[1,\n2]".to_owned()),
        ..failure()
    };
    vec![
        ("worker-task", Verdict::Taken, worker_task()),
        (
            "worker-failure",
            Verdict::Taken,
            said(2, &ended(CallResult::Failed(failure()))),
        ),
        ("worker-two-lines", Verdict::Refused, worker_says(b"[1,\n2]")),
        ("worker-too-much", Verdict::Refused, worker_says(&[b'1'; 257])),
        ("dispatcher-all", Verdict::Taken, dispatcher_all()),
        // A task with input that the worker should have refused is a crash.
        (
            "dispatcher-no-json",
            Verdict::Taken,
            dispatcher_says(CallResult::Ok(b"[1,")),
        ),
        (
            "dispatcher-data-on-two-lines",
            Verdict::Taken,
            dispatcher_says(CallResult::Failed(data)),
        ),
        ("compiler-accepted", Verdict::Taken, compiler_accepted()),
        ("tasks-all", Verdict::Taken, tasks_all()),
        (
            "tasks-no-object",
            Verdict::Refused,
            said(5, &FromTasks::Push(b"[1]")),
        ),
        ("pushed", Verdict::Taken, pushed()),
        ("to-dispatcher", Verdict::Taken, to_dispatcher()),
        ("status-requests", Verdict::Taken, status_requests()),
        ("status-replies", Verdict::Taken, status_replies()),
        ("to-worker", Verdict::Taken, to_worker()),
        ("dispatcher-start", Verdict::Taken, dispatcher_start()),
        ("worker-start", Verdict::Taken, worker_start()),
        ("to-compiler", Verdict::Taken, to_compiler()),
        ("to-tasks", Verdict::Taken, to_tasks()),
        ("manager-start", Verdict::Taken, manager_start()),
        ("to-manager", Verdict::Taken, to_manager()),
        ("to-manager-of-owner", Verdict::Taken, to_manager_of_owner()),
        ("from-manager", Verdict::Taken, from_manager()),
    ]
}

fn said(speaker: u8, message: &impl Serialize) -> Vec<u8> {
    let mut input = said_by(speaker);
    put(&mut input, message);
    input
}

/// Returns the number of the sender in the harness, with whole frames at once.
fn said_by(speaker: u8) -> Vec<u8> {
    vec![speaker, 0]
}

fn failure() -> Failure {
    Failure {
        data: Some("{\"a\":[1,2]}".to_owned()),
        backtrace: vec!["run @ 0x1".to_owned(), "_ZN1a1bE @ 0x1".to_owned()],
        ..Failure::new(Kind::Trap, "trap in `runnable`: unreachable")
    }
}

fn measured() -> ResourceUsage {
    ResourceUsage {
        cpu: SECOND,
        memory_peak: 1 << 16,
        stdout_bytes: 6,
        output_truncated: false,
    }
}

fn worker_task() -> Vec<u8> {
    let mut input = said_by(2);
    let (stream, bytes) = (Stream::Stdout, &b"hello\n"[..]);
    put(
        &mut input,
        &FromWorker::Output(GuestOutput::Printed { stream, bytes }),
    );
    let (level, text) = (LogLevel::Debug, "log");
    put(
        &mut input,
        &FromWorker::Output(GuestOutput::Logged { level, text }),
    );
    put(
        &mut input,
        &FromWorker::Waiting {
            offer: OfferId(512),
            kind: ObjectKind::Queue,
            object: "jobs",
            operation: "get",
        },
    );
    put(&mut input, &FromWorker::Resumed(OfferId(512)));
    put(&mut input, &ended(CallResult::Ok(b"{\"a\":1}")));
    put(&mut input, &FromWorker::Skipped(OfferId(513)));
    input
}

fn ended(ending: CallResult<'_>) -> FromWorker<'_> {
    FromWorker::Ended {
        offer: OfferId(512),
        run: SECOND,
        measured: measured(),
        ending,
    }
}

fn outcome(ending: CallResult<'_>, callback: CallbackStatus) -> FromDispatcher<'_> {
    let ran = Execution {
        worker: WorkerNumber(0),
        pid: 7,
        claimed: Time(9),
        run: SECOND,
        measured: Some(measured()),
    };
    FromDispatcher::Outcome {
        id: TaskId(5),
        ran: Some(ran),
        callback,
        ending,
    }
}

fn dispatcher_all() -> Vec<u8> {
    let mut input = said_by(3);
    let attempt = Attempt {
        attempt: 1,
        kind: Kind::Crash,
        message: "it died".to_owned(),
        worker: WorkerNumber(0),
        pid: 7,
        run_us: 9,
    };
    let source = Source::Callback(TaskId(5));
    for message in [
        FromDispatcher::Loaded,
        FromDispatcher::AttemptFailed {
            id: TaskId(5),
            attempt,
        },
        outcome(CallResult::Ok(b"[1]"), CallbackStatus::Ok),
        outcome(
            CallResult::Failed(failure()),
            CallbackStatus::Failed(Kind::Timeout),
        ),
        FromDispatcher::Final {
            guest: GuestId(0),
            model: ModelId(0),
            ending: CallResult::Ok(b"3"),
        },
        FromDispatcher::Output {
            source,
            at: None,
            output: GuestOutput::Printed {
                stream: Stream::Stderr,
                bytes: b"a",
            },
        },
        FromDispatcher::OutputEnd { source },
        FromDispatcher::Output {
            source,
            at: Some((WorkerNumber(0), 1)),
            output: GuestOutput::Logged {
                level: LogLevel::Warn,
                text: "x",
            },
        },
        FromDispatcher::Warning("w"),
        FromDispatcher::Failed("f"),
        FromDispatcher::Finished,
    ] {
        put(&mut input, &message);
    }
    input
}

fn compiler_accepted() -> Vec<u8> {
    let mut input = said_by(4);
    put(&mut input, &FromCompiler::Checked(GuestInfo::default()));
    put(&mut input, &FromCompiler::Compiled(b"\0elf"));
    input
}

fn tasks_all() -> Vec<u8> {
    let mut input = said_by(5);
    put(&mut input, &FromTasks::Push(b"{\"args\":[1]}"));
    let (stream, bytes) = (Stream::Stdout, &b"hello\n"[..]);
    put(
        &mut input,
        &FromTasks::Output(GuestOutput::Printed { stream, bytes }),
    );
    let (level, text) = (LogLevel::Info, "log");
    put(
        &mut input,
        &FromTasks::Output(GuestOutput::Logged { level, text }),
    );
    put(&mut input, &FromTasks::Ended(None));
    input
}

fn pushed() -> Vec<u8> {
    let mut input = said_by(6);
    let (id, retry) = (DispatchId(3), Some(Retry::times(1)));
    let items = two_items();
    for spec in [
        spec(TaskInput::Json(b"[1]")),
        spec(TaskInput::Command(b"[\"a\"]\n")),
        spec(chunk(&items)),
    ] {
        put(&mut input, &Submission::Task { id, retry, spec });
    }
    put(&mut input, &Submission::Exit);
    input
}

/// A task with this input.
fn spec(input: TaskInput<&[u8]>) -> TaskSpec<&[u8]> {
    TaskSpec {
        guest: GuestId(0),
        model: ModelId(1),
        timeout: SECOND,
        input,
    }
}

fn chunk(args: &[u8]) -> TaskInput<&[u8]> {
    TaskInput::Chunk { items: 2, args }
}

fn two_items() -> Vec<u8> {
    let mut args = Vec::new();
    items::put(&mut args, b"[1]");
    items::put(&mut args, b"[2]");
    args
}

fn to_dispatcher() -> Vec<u8> {
    let mut input = said_by(7);
    put(&mut input, &ToDispatcher::Load { has_checked: true });
    for request in [
        ControlRequest::Cancel { id: DispatchId(3) },
        ControlRequest::Confirm { outcomes: 1 },
        ControlRequest::Interrupt,
        ControlRequest::Terminate,
        ControlRequest::Pause,
        ControlRequest::Resume,
    ] {
        put(&mut input, &ToDispatcher::Control(request));
    }
    input
}

fn status_requests() -> Vec<u8> {
    let mut input = said_by(13);
    for (id, body) in [(1, StatusRequest::Pool), (2, StatusRequest::Task(DispatchId(3)))] {
        let id = RequestId(id);
        put(&mut input, &Request { id, body });
    }
    input
}

fn status_replies() -> Vec<u8> {
    let mut input = said_by(14);
    let worker = WorkerStatus {
        worker: WorkerNumber(0),
        pid: 7,
        state: WorkerState::Running {
            task: TaskId(5),
            attempt: 1,
        },
        since: SECOND,
        wait: Some(TaskWait {
            kind: ObjectKind::Queue,
            object: "jobs".to_owned(),
            operation: "get".to_owned(),
            since: SECOND,
        }),
    };
    let status = Status {
        queued: 0,
        paused: 1,
        callbacks: 2,
        workers: vec![worker],
    };
    for (id, body) in [
        (1, StatusReply::Pool { status, outcomes: 9 }),
        (2, StatusReply::Task(Some(TaskStatus::Callback))),
        (3, StatusReply::Task(None)),
    ] {
        let id = RequestId(id);
        put(&mut input, &Reply { id, body });
    }
    input
}

fn to_worker() -> Vec<u8> {
    let mut input = said_by(8);
    let items = two_items();
    for spec in [
        spec(TaskInput::Json(b"[1]")),
        spec(TaskInput::Command(b"[\"a\"]\n")),
        spec(chunk(&items)),
    ] {
        let message = ToWorker {
            offer: OfferId(512),
            id: TaskId(3),
            attempt: 1,
            spec,
        };
        put(&mut input, &message);
    }
    input
}

fn dispatcher_start() -> Vec<u8> {
    let message = DispatcherStart {
        settings: Settings {
            size: 2,
            ..settings()
        },
        stdin: false,
        terminals: Terminals::default(),
        objects: true,
        jail: None,
        events: true,
    };
    said(11, &message)
}

fn worker_start() -> Vec<u8> {
    let message = WorkerStart {
        stdin: false,
        objects: true,
        engine: EngineSettings::from(&settings()),
        max_args: 256,
        cpu: Some(1),
        jail: None,
        grants: settings().grants,
        max_files: 64,
        guests: vec![(GuestId(1), Cow::Owned(GuestInfo::default()))],
    };
    said(12, &message)
}

fn to_compiler() -> Vec<u8> {
    let message = ToCompiler {
        engine: EngineSettings::from(&settings()),
        timeout: SECOND,
        jail: None,
    };
    said(9, &message)
}

fn to_tasks() -> Vec<u8> {
    let message = ToTasks {
        engine: EngineSettings::from(&settings()),
        info: GuestInfo::default(),
        timeout: SECOND,
        first: TaskId(3),
        max_tasks: 9,
        max_args: 256,
        objects: true,
        jail: None,
    };
    said(10, &message)
}

fn manager_start() -> Vec<u8> {
    let message = ManagerStart {
        memory: 1 << 20,
        jail: None,
    };
    said(15, &message)
}

fn to_manager() -> Vec<u8> {
    let mut input = said_by(16);
    let (id, call, object) = (RequestId(1), CallNumber(2), ObjectId(3));
    let source = CallSource::Task {
        task: TaskId(5),
        attempt: 1,
    };
    for message in [
        ToManager::CallStarted { call, source },
        ToManager::Open {
            id,
            target: RequestedObject::Name("jobs"),
        },
        ToManager::Open {
            id,
            target: RequestedObject::Token(token()),
        },
        ToManager::Call {
            id,
            call,
            object,
            timeout: Some(0),
            operation: "put",
            args: b"[1]",
        },
        ToManager::Cancel { id },
        ToManager::CallEnded {
            call,
            succeeded: true,
        },
        ToManager::Attach,
    ] {
        put(&mut input, &message);
    }
    input
}

fn to_manager_of_owner() -> Vec<u8> {
    let mut input = said_by(16);
    let id = RequestId(1);
    let names = vec![GrantedName {
        name: "jobs".to_owned(),
        token: token(),
    }];
    for request in [
        OwnerRequest::Create {
            id,
            spec: ObjectSpec::Queue(None),
            label: "jobs",
        },
        OwnerRequest::OpenPool { id, names },
        OwnerRequest::Contents { id, token: token() },
        OwnerRequest::Restore {
            id,
            token: token(),
            contents: b"[1]",
        },
        OwnerRequest::Status { id },
    ] {
        put(&mut input, &ToManager::Owner(request));
    }
    input
}

fn from_manager() -> Vec<u8> {
    let mut input = said_by(17);
    let id = RequestId(1);
    let waiting = WaitingCall {
        source: CallSource::Program,
        kind: ObjectKind::Queue,
        object: "jobs".to_owned(),
        operation: "get".to_owned(),
        waited: SECOND,
    };
    let holder = HoldingCall {
        source: CallSource::Tasks,
        kind: ObjectKind::Lock,
        object: "lock".to_owned(),
    };
    let error = ObjectError::new(ObjectErrorKind::Full, "jobs", "put");
    for message in [
        FromManager::Opened {
            id,
            object: ObjectId(3),
            spec: ObjectSpec::Lock,
            label: "lock",
        },
        FromManager::Created {
            id,
            label: "jobs",
            tokens: vec![token()],
        },
        FromManager::Status {
            id,
            status: ObjectsStatus {
                memory: 9,
                memory_cap: 1 << 20,
                objects: 2,
                waiting: vec![waiting],
                holders: vec![holder],
            },
        },
        FromManager::Reply {
            id,
            result: OperationReply::Ok(b"null"),
        },
        FromManager::Reply {
            id,
            result: OperationReply::Failed(error),
        },
    ] {
        put(&mut input, &message);
    }
    input
}

fn token() -> Token {
    Token::from_bytes([7; Token::SIZE])
}
