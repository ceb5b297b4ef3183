//! Provokes every error of the library.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mpwasm::{Access, DirGrant, Error, Outcome, Pool, Reporter, Settings, TaskId};

use crate::common::{
    GUEST, PATIENCE, Processes, builder, in_time, outcome, pool_and_guest, recorded, status, task,
};
use crate::support::{binary, script};

#[test]
fn settings_that_make_no_sense_are_refused() {
    let zero = Duration::ZERO;
    for builder in [
        builder().size(0),
        builder().timeout(zero),
        builder().callback_timeout(zero),
        builder().compile_timeout(zero),
        builder().max_args((1 << 30) + 1),
        builder().max_result(u64::MAX),
        builder().env("A=", "b"),
        builder().env("A", "\0"),
        builder().dir(dir("/", "x")).dir(dir("/", "x/")),
        builder().settings(Settings {
            size: 0,
            ..Settings::default()
        }),
    ] {
        let refused = builder.start();
        assert!(matches!(refused, Err(Error::BadSetting(_))), "{refused:?}");
    }
}

fn dir(host: &str, guest: &str) -> DirGrant {
    DirGrant::new(host, guest, Access::ReadOnly).unwrap()
}

#[test]
fn directories_that_can_not_be_granted_are_refused_by_name() {
    for (host, words) in [
        ("/", "beneath it"),
        ("/proc/self", "it is on proc"),
        ("/nowhere/at all", "No such file or directory"),
    ] {
        let refused = builder().dir(dir(host, "x")).start();
        let is_told = |path: &Path, why: &str| path == Path::new(host) && why.contains(words);
        assert!(
            matches!(&refused, Err(Error::Grant { path, why }) if is_told(path, why)),
            "{refused:?}"
        );
    }
}

#[test]
fn without_init_and_without_an_executable_there_is_no_pool() {
    // The harness has not called `init`.
    assert!(matches!(Pool::builder().start(), Err(Error::InitMissing)));
    let inspected = mpwasm::inspect("guest.wat", &Settings::default());
    assert!(matches!(inspected, Err(Error::InitMissing)), "{inspected:?}");
}

#[test]
fn an_executable_that_is_not_there_can_not_be_read() {
    let refused = builder().executable("/nowhere/mpwasm").start();
    assert!(
        matches!(&refused, Err(Error::Read { path, .. }) if path == Path::new("/nowhere/mpwasm")),
        "{refused:?}"
    );
}

#[test]
fn an_executable_that_is_no_mpwasm_can_not_be_started() {
    let dir = tempfile::tempdir().unwrap();
    let ends = script(&dir, "#!/bin/sh\nexit 7\n");
    for executable in [ends.as_path(), "/bin/true".as_ref(), "/dev/null".as_ref()] {
        let refused = in_time({
            let builder = builder().executable(executable);
            || builder.start()
        });
        assert!(
            matches!(
                &refused,
                Err(Error::Start {
                    role: "dispatcher",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn a_wrapper_that_becomes_mpwasm_is_an_executable() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = script(
        &dir,
        &format!("#!/bin/sh\nexec '{}' \"$@\"\n", binary().display()),
    );
    let (pool, guest) = pool_and_guest(builder().executable(wrapper));
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
    let processes = Processes::of(&pool, 2);
    in_time(|| pool.stop()).unwrap();
    processes.assert_gone();
}

#[test]
fn a_compiler_or_a_tasks_process_that_does_not_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = script(
        &dir,
        &format!(
            "#!/bin/sh\ncase $1 in *compiler) exit 7;; esac\nexec '{}' \"$@\"\n",
            binary().display()
        ),
    );
    let pool = builder().executable(wrapper).start().unwrap();
    let refused = pool.load_bytes("guest.wat", GUEST.as_bytes());
    assert!(
        matches!(&refused, Err(Error::Start { role: "compiler", .. })),
        "{refused:?}"
    );

    let dir = tempfile::tempdir().unwrap();
    let wrapper = script(
        &dir,
        &format!(
            "#!/bin/sh\ncase $1 in *tasks) exit 7;; esac\nexec '{}' \"$@\"\n",
            binary().display()
        ),
    );
    let pool = builder().executable(wrapper).start().unwrap();
    let text = r#"(module (memory (export "memory") 1) (func (export "runnable") (export "tasks") (result i32)
        (i32.const 0)))"#;
    let guest = pool.load_bytes("pusher.wat", text.as_bytes()).unwrap();
    let refused = pool.push_from_guest(&guest);
    assert!(
        matches!(&refused, Err(Error::Start { role: "tasks", .. })),
        "{refused:?}"
    );
    assert_eq!(
        status(&pool.submit(guest.task(())).unwrap()),
        "ok",
        "the pool goes on"
    );
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let pool = builder().start().unwrap();
    for path in ["/nowhere/guest.wasm", "/"] {
        let refused = pool.load(path);
        let named = matches!(&refused, Err(Error::Read { path: named, .. }) if named == Path::new(path));
        assert!(named, "{refused:?}");
    }
}

#[test]
fn what_is_no_webassembly_is_told_apart_from_what_is_refused() {
    let pool = builder().start().unwrap();
    for bytes in [&b""[..], b"hello", b"\x7fELF and so on", b"\xff\xfe"] {
        let refused = pool.load_bytes("name", bytes);
        assert!(
            matches!(&refused, Err(Error::NotWasm { name, .. }) if name == "name"),
            "{refused:?}"
        );
    }
    // The pool continues to work.
    let guest = pool.load_bytes("guest.wat", GUEST.as_bytes()).unwrap();
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
}

#[test]
fn a_guest_is_refused_with_all_that_speaks_against_it() {
    let pool = builder().start().unwrap();
    let text = r#"(module
        (import "env" "launch" (func))
        (import "mpwasm_v1" "pid" (func (param i64)))
        (func (export "runnable") (param i32))
        (func (export "callback"))
        (func (export "initializer")))"#;
    let Err(error) = pool.load_bytes("bad.wat", text.as_bytes()) else {
        panic!("it was loaded")
    };
    let Error::Refused { name, reasons } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(name, "bad.wat");
    for part in [
        "`env.launch`",
        "`mpwasm_v1.pid`",
        "`runnable`",
        "`callback`",
        "`initializer`",
        "`memory`",
    ] {
        assert_eq!(
            reasons.iter().filter(|reason| reason.contains(part)).count(),
            1,
            "{part} in {reasons:#?}"
        );
        assert!(error.to_string().contains(part));
    }
}

#[test]
fn broken_modules_are_refused() {
    let pool = builder().memory(1 << 20).start().unwrap();
    let runnable = "(func (export \"runnable\") (result i32) (i32.const 0))";
    for (text, reason) in [
        (
            format!("(module (memory (export \"memory\") 17) {runnable})"),
            "initial memory",
        ),
        (
            format!("(module (memory (export \"memory\") i64 1) {runnable})"),
            "memory64",
        ),
        ("(module (func (result i32)))".to_owned(), ""),
        ("(module".to_owned(), ""),
        ("\0asm\u{1}\0\0\0 and then nonsense".to_owned(), ""),
    ] {
        let refused = pool.load_bytes("bad", text.as_bytes());
        let Err(Error::Refused { reasons, .. }) = &refused else {
            panic!("{text}: {refused:?}")
        };
        assert!(
            reasons.iter().any(|line| line.contains(reason)),
            "{text}: {reasons:?}"
        );
    }
}

#[test]
fn args_that_are_none_are_refused_when_they_are_pushed() {
    let (pool, guest) = pool_and_guest(builder().max_args(1000));
    let mut deep = serde_json::json!([]);
    for _ in 0..128 {
        deep = serde_json::json!([deep]);
    }
    let no_json = std::collections::HashMap::from([(vec![1], 2)]);
    for args in [
        guest.task(5),
        guest.task("text"),
        guest.task(serde_json::json!({"named": 1})),
        guest.task(["x".repeat(1000)]),
        guest.task(deep),
        guest.task([no_json]),
    ] {
        let refused = pool.submit(args.clone()).map(|handle| handle.id());
        assert!(matches!(refused, Err(Error::InvalidArgs(_))), "{refused:?}");
        assert!(matches!(pool.push(args), Err(Error::InvalidArgs(_))));
    }
    // The refused tasks have no ids.
    assert_eq!(pool.push(guest.task(["x".repeat(990)])).unwrap(), TaskId(0));
}

#[test]
fn a_model_that_is_not_there_is_reported_with_those_that_are() {
    let (pool, guest) = pool_and_guest(builder());
    let Err(Error::UnknownModel(why)) = guest.model("nobody") else {
        panic!("there is one")
    };
    let why = why.to_string();
    assert!(why.contains("`nobody`") && why.contains("`spin`"), "{why}");
    // Without an unnamed model, a push of a task for it is an error.
    let text =
        r#"(module (memory (export "memory") 1) (func (export "a.runnable") (result i32) (i32.const 0)))"#;
    let named = pool.load_bytes("named.wat", text.as_bytes()).unwrap();
    let refused = pool.push(named.task([1]));
    assert!(
        matches!(&refused, Err(Error::UnknownModel(why)) if why.models() == ["a"]),
        "{refused:?}"
    );
}

#[test]
fn a_guest_without_tasks_can_not_push() {
    let (pool, guest) = pool_and_guest(builder());
    assert!(matches!(pool.push_from_guest(&guest), Err(Error::NoTasks)));
}

#[test]
fn a_guest_of_another_pool_is_refused() {
    let (theirs, foreign) = pool_and_guest(builder());
    // In this pool the first guest is a different one and has fewer models.
    let pool = builder().start().unwrap();
    let text = r#"(module (memory (export "memory") 1)
        (func (export "runnable") (export "tasks") (result i32) (i32.const 0)))"#;
    let other = pool.load_bytes("other.wat", text.as_bytes()).unwrap();
    let refused = |result: Result<TaskId, Error>, name: &str| match result {
        Err(Error::ForeignGuest { name: named }) => assert_eq!(named, name),
        other => panic!("{other:?}"),
    };
    refused(pool.push(foreign.task([1])), "guest.wat");
    refused(pool.push(task(&foreign, "trap")), "guest.wat");
    refused(
        pool.submit(foreign.task([1])).map(|handle| handle.id()),
        "guest.wat",
    );
    refused(pool.push_all([other.task(()), foreign.task([1])]), "guest.wat");
    refused(theirs.push_from_guest(&other).map(TaskId), "other.wat");
    // Both pools continue, and only accepted tasks have ids.
    assert_eq!(pool.push(other.task(())).unwrap(), TaskId(1));
    assert_eq!(status(&theirs.submit(foreign.task([1])).unwrap()), "ok");
    in_time(|| pool.stop()).unwrap();
    in_time(|| theirs.stop()).unwrap();
}

/// A reporter that fails at its third outcome.
struct Failing {
    calls: Arc<AtomicU32>,
    panics: bool,
}

impl Reporter for Failing {
    fn outcome(&mut self, _: &Outcome) -> io::Result<()> {
        if self.calls.fetch_add(1, Ordering::SeqCst) < 2 {
            return Ok(());
        }
        assert!(!self.panics, "this panic is a part of the test");
        Err(io::Error::other("no space left"))
    }
}

#[test]
fn a_reporter_that_fails_or_panics_ends_the_run() {
    for (panics, reason) in [(false, "no space left"), (true, "panicked")] {
        let calls = Arc::new(AtomicU32::new(0));
        let failing = Failing {
            calls: Arc::clone(&calls),
            panics,
        };
        let (pool, guest) = pool_and_guest(builder().reporter(failing));
        let spin = pool
            .submit(task(&guest, "spin").timeout(Duration::from_secs(3600)))
            .unwrap();
        let processes = Processes::of(&pool, 2);
        for number in 0..2 {
            assert_eq!(status(&pool.submit(guest.task([number])).unwrap()), "ok");
        }
        // The handle of the third task still has its outcome. Running tasks are ended.
        assert_eq!(status(&pool.submit(guest.task([2])).unwrap()), "ok");
        assert_eq!(status(&spin), "cancelled");
        let (pool, end) = in_time(|| {
            let end = pool.join();
            (pool, end)
        });
        assert!(
            matches!(&end, Err(Error::Report(error)) if error.to_string().contains(reason)),
            "{end:?}"
        );
        processes.assert_killed();
        assert!(matches!(pool.push(guest.task([3])), Err(Error::Closed)));
        assert_eq!(calls.load(Ordering::SeqCst), 3, "it is not called again");
        pool.join().expect("an error is told once");
    }
}

#[test]
fn a_reporter_that_fails_in_a_call_of_the_pool_ends_the_run_as_well() {
    let failing = Failing {
        calls: Arc::new(AtomicU32::new(2)),
        panics: false,
    };
    let (pool, guest) = pool_and_guest(builder().reporter(failing));
    assert_eq!(
        pool.reject(mpwasm::internal::Rejected::default()).unwrap(),
        TaskId(0)
    );
    assert!(matches!(pool.push(guest.task([1])), Err(Error::Closed)));
    assert!(matches!(in_time(|| pool.stop()), Err(Error::Report(_))));
}

#[test]
fn a_pool_whose_workers_can_not_live_fails() {
    let dir = tempfile::tempdir().unwrap();
    // A worker reserves far more address space than this. The other processes need less.
    let limited = format!(
        "#!/bin/sh\nulimit -v 8388608\nexec '{}' \"$@\"\n",
        binary().display()
    );
    let limited = script(&dir, &limited);
    let (pool, guest, record) = recorded(builder().executable(&limited));
    let handle = pool.submit(guest.task([1]));
    let dispatcher = crate::support::pidfd(pool.dispatcher_pid());
    let (pool, end) = in_time(|| {
        let end = pool.join();
        (pool, end)
    });
    assert!(matches!(&end, Err(Error::PoolFailed(_))), "{end:?}");
    crate::support::assert_all_end(&[dispatcher], Duration::ZERO);
    // The task was accepted, unless the pool had failed by then.
    if let Ok(handle) = handle {
        assert_eq!(status(&handle), "crash");
        assert_eq!(record.outcomes().len(), 1);
    }
    assert!(matches!(pool.push(guest.task([1])), Err(Error::Closed)));
}

#[test]
fn stopping_a_pool_that_has_failed_tells_why() {
    let dir = tempfile::tempdir().unwrap();
    let limited = format!(
        "#!/bin/sh\nulimit -v 8388608\nexec '{}' \"$@\"\n",
        binary().display()
    );
    let (pool, guest) = pool_and_guest(builder().executable(script(&dir, &limited)));
    let failed = pool.submit(guest.task([1])).map(|handle| status(&handle));
    assert!(matches!(failed, Ok("crash") | Err(Error::Closed)), "{failed:?}");
    let end = in_time(|| pool.stop());
    assert!(matches!(&end, Err(Error::PoolFailed(_))), "{end:?}");
}

#[test]
fn an_error_of_a_task_is_no_error_of_the_pool() {
    let (pool, guest) = pool_and_guest(builder());
    let trap = pool.submit(task(&guest, "trap")).unwrap();
    let error = outcome(&trap).result.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("task 0 ended as trap: {}", error.message)
    );
    assert_eq!((error.id, error.attempt, error.args.get()), (TaskId(0), 1, "[]"));
    in_time(|| pool.stop()).unwrap();
    assert!(trap.wait_timeout(PATIENCE).is_some());
}
