//! What each way to run a call keeps and discards.

use std::time::Duration;

use super::*;
use crate::abi::call::CallReport;
use crate::testing::{Rig, accepted, call, ended, guest, memfd, runnable, settings};
use mpwasm_system::clock;
use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
use mpwasm_types::task::TaskInput;
use mpwasm_types::time::Time;

/// Counts its calls in a global, and returns the count in its result.
const COUNTER: &str = r#"
    (global $n (mut i32) (i32.const 0))
    (func $count (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (i32.store8 (i32.const 0) (i32.add (i32.const 48) (global.get $n)))
      (call $output_write (i32.const 0) (i32.const 1)) (i32.const 0))
    (export "runnable" (func $count)) (export "b.runnable" (func $count))"#;

fn counted(report: &CallReport) -> u32 {
    report
        .result
        .as_deref()
        .expect("it counts")
        .parse()
        .expect("a digit")
}

#[test]
fn a_fresh_instance_remembers_nothing() {
    let mut rig = Rig::new(&guest(COUNTER));
    for _ in 0..3 {
        assert_eq!(counted(&rig.call(Export::Runnable, "[]")), 1);
    }
}

#[test]
fn the_items_of_a_chunk_share_an_instance_until_one_fails() {
    let wat = COUNTER.replace(
        "(call $output_write",
        "(if (i32.eq (call $input_len) (i32.const 3)) (then (unreachable))) (call $output_write",
    );
    let mut rig = Rig::new(&guest(&wat));
    let item = |rig: &mut Rig, input: &str| {
        rig.deadline.arm(Time::NEVER);
        let report = rig.executor.run_chunk_item(&Call {
            input: TaskInput::Json(input.as_bytes()),
            ..call(Export::Runnable, ModelId(0), "[]")
        });
        assert!(rig.deadline.disarm());
        report
    };
    for n in 1..4 {
        assert_eq!(counted(&item(&mut rig, "[]")), n);
    }
    ended(Kind::Trap, item(&mut rig, "[1]"));
    assert_eq!(counted(&item(&mut rig, "[]")), 1, "a fresh one");
    assert_eq!(counted(&item(&mut rig, "[]")), 2);
    rig.executor.drop_instance();
    assert_eq!(counted(&item(&mut rig, "[]")), 1, "another chunk");
    rig.executor.drop_instance();
    assert_eq!(counted(&rig.call(Export::Runnable, "[]")), 1);
}

#[test]
fn a_kept_instance_remembers_everything_and_there_is_one_per_model() {
    let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &guest(COUNTER));
    for n in 1..4 {
        assert_eq!(counted(&rig.kept(Export::Runnable, 0)), n);
    }
    assert_eq!(counted(&rig.kept(Export::Runnable, 1)), 1);
    assert_eq!(counted(&rig.kept(Export::Runnable, 0)), 4);
}

/// `callback` counts and returns the count as its code; `error_callback` does `body`.
fn counting(body: &str) -> String {
    guest(&format!(
        r#"(global $n (mut i32) (i32.const 0))
           (func (export "runnable") (result i32) (i32.const 0))
           (func (export "callback") (result i32)
             (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
           (func (export "error_callback") (result i32) {body})"#
    ))
}

fn count(rig: &mut Rig) -> String {
    ended(Kind::Error, rig.kept(Export::Callback, 0)).message
}

#[test]
fn every_failure_but_a_returned_one_discards_the_kept_instance() {
    for (body, kind) in [
        ("unreachable", Kind::Trap),
        ("(call $proc_exit (i32.const 0)) (i32.const 0)", Kind::Exit),
        (
            "(call $fail (i32.const 0) (i32.const 0)) (i32.const 0)",
            Kind::Error,
        ),
        ("(memory.grow (i32.const 99)) unreachable", Kind::Memory),
        (
            "(call $output_write (i32.const 0) (i32.const 1025)) (i32.const 0)",
            Kind::Limit,
        ),
    ] {
        let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &counting(body));
        // It fails twice and is kept: an error code does not discard the instance.
        assert_eq!(count(&mut rig), "the guest returned 1");
        assert_eq!(count(&mut rig), "the guest returned 2");
        ended(kind, rig.kept(Export::ErrorCallback, 0));
        assert_eq!(count(&mut rig), "the guest returned 1", "{kind}");
    }
}

#[test]
fn a_kept_instance_that_times_out_is_discarded() {
    let mut rig = Rig::with(
        EngineRole::Callbacks,
        &settings(),
        &counting("(loop $l (br $l)) (i32.const 0)"),
    );
    assert_eq!(count(&mut rig), "the guest returned 1");
    let at = clock::now() + Duration::from_millis(10);
    rig.watched(at, |rig| {
        rig.deadline.arm(at);
        let report = rig
            .executor
            .run_kept(&call(Export::ErrorCallback, ModelId(0), "null"), 1 << 20);
        assert!(rig.deadline.disarm());
        ended(Kind::Timeout, report);
    });
    assert_eq!(count(&mut rig), "the guest returned 1");
}

#[test]
fn the_kept_instances_of_a_guest_share_their_memory() {
    let wat = guest(
        "(func (export \"runnable\") (result i32) (memory.grow (i32.const 9)))
         (func (export \"b.runnable\") (result i32) (memory.grow (i32.const 9)))
         (func (export \"b.callback\") (result i32) unreachable)
         (func (export \"callback\") (result i32) unreachable)",
    );
    let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &wat);
    // 16 pages for both: 1 + 9 are taken, 1 + 9 more are refused, which returns -1.
    let code = |report: CallReport| ended(Kind::Error, report).message;
    let first = rig.kept(Export::Runnable, 0);
    assert_eq!(first.memory_peak, 10 << 16);
    assert_eq!(code(first), "the guest returned 1");
    assert_eq!(code(rig.kept(Export::Runnable, 1)), "the guest returned -1");
    // What is discarded gives back what it had.
    ended(Kind::Trap, rig.kept(Export::Callback, 0));
    assert_eq!(code(rig.kept(Export::Runnable, 1)), "the guest returned 1");
    ended(Kind::Trap, rig.kept(Export::Callback, 1));
    rig.deadline.arm(Time::NEVER);
    let report = rig
        .executor
        .run_kept(&call(Export::Runnable, ModelId(0), "null"), 65535);
    let failure = ended(Kind::Memory, report);
    assert!(
        failure.message.contains("while it was instantiated"),
        "{}",
        failure.message
    );
}

#[test]
fn tables_of_callbacks_are_part_of_their_memory() {
    let with = |elements: u32| {
        let wat = guest(&format!(
            "(table {elements} funcref) (func (export \"runnable\") (result i32) (i32.const 0))
             (func (export \"callback\") (result i32) (i32.const 0))"
        ));
        Rig::with(EngineRole::Callbacks, &settings(), &wat).kept(Export::Callback, 0)
    };
    assert_eq!(with(100_000).result.as_deref(), Ok("null"));
    ended(Kind::Memory, with(131_072));
}

#[test]
fn callbacks_get_the_input_and_need_no_output() {
    let wat = guest(
        "(func (export \"runnable\") (result i32) (i32.const 0))
         (func (export \"callback\") (result i32)
           (call $output_write (i32.const 0) (i32.const 5)) (i32.sub (call $input_len) (i32.const 4)))",
    );
    let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &wat);
    // The output is no JSON, and is ignored.
    assert_eq!(rig.kept(Export::Callback, 0).result.as_deref(), Ok("null"));
}

#[test]
fn several_guests_live_in_one_executor() {
    let mut rig = Rig::new(&runnable("(i32.const 1)"));
    let mut settings = settings();
    for code in 2..8 {
        let (info, artifact) = accepted(&runnable(&format!("(i32.const {code})")), &settings);
        assert_eq!(
            rig.executor.load(memfd(&artifact), &info).unwrap(),
            GuestId(code - 1)
        );
    }
    for guest in [0, 6, 3, 5, 1, 2, 4, 0, 6].map(GuestId) {
        rig.deadline.arm(Time::NEVER);
        let report = rig.executor.run(&Call {
            guest,
            ..call(Export::Runnable, ModelId(0), "[]")
        });
        assert!(rig.deadline.disarm());
        let message = ended(Kind::Error, report).message;
        assert_eq!(message, format!("the guest returned {}", guest.0 + 1));
    }
    // What was compiled with other settings is refused, and so are bytes that are not an artifact.
    settings.fuel = Some(1);
    let (info, artifact) = accepted(&runnable("(i32.const 0)"), &settings);
    for bytes in [artifact, b"garbage".to_vec(), Vec::new()] {
        let error = rig.executor.load(memfd(&bytes), &info).expect_err("not ours");
        assert!(matches!(error, LoadError::Artifact(_)), "{error}");
    }
}

#[test]
fn an_artifact_that_does_not_fit_its_description_is_refused() {
    let mut rig = Rig::new(&runnable("(i32.const 0)"));
    let (info, artifact) = accepted(&runnable("(i32.const 0)"), &settings());
    let wrong = GuestInfo {
        models: vec![ModelInfo {
            runnable: "other".to_owned(),
            ..info.models[0].clone()
        }],
        ..info
    };
    let error = rig
        .executor
        .load(memfd(&artifact), &wrong)
        .expect_err("no such export");
    assert!(matches!(error, LoadError::MissingExport(name) if name == "other"));
}

#[test]
fn what_does_not_exist_is_invalid() {
    let mut rig = Rig::new(&runnable("(i32.const 0)"));
    for call in [
        call(Export::Callback, ModelId(0), "null"),
        call(Export::Tasks, ModelId(0), "null"),
        call(Export::Runnable, ModelId(1), "[]"),
        Call {
            guest: GuestId(9),
            ..call(Export::Runnable, ModelId(0), "[]")
        },
    ] {
        rig.deadline.arm(Time::NEVER);
        ended(Kind::Invalid, rig.executor.run(&call));
        ended(Kind::Invalid, rig.executor.run_kept(&call, 1 << 20));
        assert!(rig.deadline.disarm());
    }
}

#[test]
fn kept_instances_share_the_buffers_of_their_calls() {
    let models: String = (0..16)
        .map(|n| format!(r#"(export "m{n}.runnable" (func $f)) (export "m{n}.callback" (func $f))"#))
        .collect();
    let wat = guest(&format!(
        r#"(func $f (result i32) (call $output_write (i32.const 0) (i32.const 65536)) (i32.const 0)) {models}"#
    ));
    let settings = EngineSettings {
        max_result: 16 << 20,
        ..settings()
    };
    let mut rig = Rig::with(EngineRole::Callbacks, &settings, &wat);
    let input = "x".repeat(1 << 20);
    for model in 0..16 {
        rig.deadline.arm(Time::NEVER);
        let call = Call {
            input: TaskInput::Json(input.as_bytes()),
            ..call(Export::Callback, ModelId(model), "")
        };
        assert!(rig.executor.run_kept(&call, 16 << 20).result.is_ok());
        assert!(rig.deadline.disarm());
    }
    let of_instances = |kept: &KeptInstance| kept.store.data().buffers();
    let all: usize = rig.executor.kept.values().map(of_instances).sum();
    assert_eq!((rig.executor.kept.len(), all), (16, 0), "the instances hold none");
    assert!(
        rig.executor.buffers.capacity() >= input.len(),
        "they are kept once"
    );
}

#[test]
fn buffers_serve_one_call_after_the_other() {
    let wat = runnable(
        "(call $output_write (i32.const 0)
           (call $input_read (i32.const 0) (i32.const 0) (call $input_len))) (i32.const 0)",
    );
    let settings = EngineSettings {
        max_result: 16 << 20,
        memory: 16 << 20,
        ..settings()
    };
    let mut rig = Rig::with(
        EngineRole::Worker,
        &settings,
        &wat.replace("\"memory\") 1", "\"memory\") 100"),
    );
    for len in [10, 5_000_000, 3, 0] {
        let input = format!("[\"{}\"]", "x".repeat(len));
        assert_eq!(rig.call(Export::Runnable, &input).result.as_deref(), Ok(&*input));
    }
}
