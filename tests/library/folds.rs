//! Folds: the value that callbacks have accumulated is returned at the end, or the reason why it is lost.

use std::time::Duration;

use mpwasm::{CallbackStatus, FinalValue, Guest, GuestId, Kind, ModelId, Pool, Source};

use crate::common::{Record, builder, in_time, outcome, recorder, task};

/// - unnamed: its callback counts, its final callback logs "final" and gives `[count, task_id]`
/// - `lost`: the same, but its error_callback traps; its tasks fail when they have args
/// - `spins`, `traps`, `fails`, `nonsense`: their final callbacks do so
/// - `holds`: its final callback can't be ended: deep in a recursion, each frame makes the host look at 40 MB
/// - `plain`: it has none
const GUEST: &str = r#"(module
    (import "mpwasm_v1" "input_len" (func $input_len (result i32)))
    (import "mpwasm_v1" "output_write" (func $output_write (param i32 i32)))
    (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
    (import "mpwasm_v1" "fail" (func $fail (param i32 i32)))
    (import "mpwasm_v1" "task_id" (func $task_id (result i64)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "final")
    (data (i32.const 16) "[0,0]")
    (data (i32.const 32) "no fold today")
    (global $count (mut i32) (i32.const 0))

    (func $nothing (export "runnable") (export "spins.runnable") (export "traps.runnable")
        (export "fails.runnable") (export "nonsense.runnable") (export "holds.runnable")
        (export "plain.runnable") (result i32)
        (i32.const 0))
    (func (export "lost.runnable") (result i32) (i32.gt_u (call $input_len) (i32.const 2)))

    (func (export "callback") (export "lost.callback") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.const 0))
    (func (export "lost.error_callback") (result i32) (unreachable))

    (func (export "final_callback") (export "lost.final_callback") (result i32)
        (call $log (i32.const 3) (i32.const 0) (i32.const 5))
        (i32.store8 (i32.const 17) (i32.add (i32.const 48) (global.get $count)))
        ;; No task is -1.
        (i32.store8 (i32.const 19) (i32.sub (i32.const 48) (i32.wrap_i64 (call $task_id))))
        (call $output_write (i32.const 16) (i32.const 5))
        (i32.const 0))
    (func (export "spins.final_callback") (result i32) (loop $ever (br $ever)) (unreachable))
    (func (export "traps.final_callback") (result i32) (unreachable))
    (func (export "fails.final_callback") (result i32)
        (call $fail (i32.const 32) (i32.const 13)) (i32.const 0))
    (func (export "nonsense.final_callback") (result i32)
        (call $output_write (i32.const 32) (i32.const 13)) (i32.const 0))

    (func $deeper (param $levels i32)
        (if (local.get $levels) (then (call $deeper (i32.sub (local.get $levels) (i32.const 1)))))
        (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))))
    (func (export "holds.final_callback") (result i32)
        (drop (memory.grow (i32.const 639)))
        (i32.store (i32.const 64) (i32.const 128))
        (i32.store (i32.const 68) (i32.const 0x27ffe00))
        (call $deeper (i32.const 10000))
        (i32.const 0)))"#;

fn pool(callback_timeout: Duration) -> (Pool, Guest, Record) {
    let (recorder, record) = recorder();
    let builder = builder().callback_timeout(callback_timeout).reporter(recorder);
    let pool = builder.start().unwrap();
    let guest = pool.load_bytes("folds.wat", GUEST.as_bytes()).unwrap();
    (pool, guest, record)
}

/// Longer than an immediate return takes on a busy machine.
const AMPLE: Duration = Duration::from_secs(60);

/// A model with its value as JSON, or with kind and message of the error.
type FinalResult = (String, Result<String, (Kind, String)>);

fn final_results(values: Vec<FinalValue>) -> Vec<FinalResult> {
    let results = values.into_iter().map(|value| {
        assert_eq!(value.guest, "folds.wat");
        let result = value.result.map(|json| json.get().to_owned());
        (value.model, result.map_err(|error| (error.kind, error.message)))
    });
    results.collect()
}

fn stop(pool: Pool) -> Vec<FinalResult> {
    final_results(in_time(|| pool.stop_with_values()).unwrap())
}

#[test]
fn the_final_callback_tells_what_the_callbacks_have_accumulated() {
    let (pool, guest, record) = pool(AMPLE);
    pool.push_all((0..7).map(|_| guest.task(()))).unwrap();
    pool.push(task(&guest, "lost")).unwrap();
    pool.push(task(&guest, "plain")).unwrap();
    let values = stop(pool);
    let value = |model: &str, json: &str| (model.to_owned(), Ok(json.to_owned()));
    assert_eq!(values, [value("", "[7,1]"), value("lost", "[1,1]")]);
    record.wait_for_log(
        Source::FinalCallback {
            guest: GuestId(0),
            model: ModelId(0),
        },
        "final",
    );
    assert_eq!(record.outcomes().len(), 9, "a final value is no outcome");
}

#[test]
fn a_pool_without_tasks_has_no_final_values_and_one_that_runs_has_none_yet() {
    let (pool, guest, _) = pool(AMPLE);
    assert!(pool.final_values().is_empty());
    outcome(&pool.submit(task(&guest, "plain")).unwrap());
    assert!(pool.final_values().is_empty());
    assert_eq!(stop(pool), []);
}

#[test]
fn a_fold_whose_instance_was_lost_says_so_and_tells_no_value() {
    let (pool, guest, record) = pool(AMPLE);
    let model = guest.model("lost").unwrap();
    for args in [&[][..], &[1], &[]] {
        outcome(&pool.submit(model.task(args)).unwrap());
    }
    pool.push(guest.task(())).unwrap();
    let values = stop(pool);
    assert_eq!(
        values[0],
        (String::new(), Ok("[1,1]".to_owned())),
        "the others' are theirs"
    );
    let (model, Err((Kind::Trap, message))) = &values[1] else {
        panic!("{values:?}")
    };
    assert_eq!(model, "lost");
    assert!(message.contains("lost with its callback for task 1"), "{message}");
    let callbacks: Vec<_> = record
        .outcomes()
        .into_iter()
        .map(|outcome| outcome.callback)
        .collect();
    let trapped = CallbackStatus::Failed(Kind::Trap);
    assert_eq!(
        callbacks,
        [
            CallbackStatus::Ok,
            trapped,
            CallbackStatus::Ok,
            CallbackStatus::Ok
        ]
    );
}

#[test]
fn a_final_callback_that_fails_has_no_value() {
    for (model, kind, message) in [
        ("traps", Kind::Trap, "unreachable"),
        ("fails", Kind::Error, "no fold today"),
        ("nonsense", Kind::Error, "JSON"),
    ] {
        let (pool, guest, _) = pool(AMPLE);
        pool.push(task(&guest, model)).unwrap();
        let values = stop(pool);
        let [(_, Err((told, why)))] = &values[..] else {
            panic!("{values:?}")
        };
        assert_eq!(*told, kind);
        assert!(why.contains(message), "{why}");
    }
}

/// Covers a callback that the engine can interrupt at its deadline, and one that it can't.
#[test]
fn a_final_callback_that_does_not_end_holds_nobody_up() {
    for model in ["spins", "holds"] {
        let (pool, guest, _) = pool(Duration::from_secs(2));
        // The values are in the order of the models, so the unnamed model's comes first.
        pool.push_all([guest.task(()), task(&guest, model)]).unwrap();
        let values = stop(pool);
        assert_eq!(values[0], (String::new(), Ok("[1,1]".to_owned())));
        assert!(matches!(&values[1], (_, Err((Kind::Timeout, _)))), "{values:?}");
    }
}

#[test]
fn a_pool_that_was_ended_early_has_no_values() {
    for end in [Pool::interrupt, Pool::terminate] {
        let (pool, guest, record) = pool(AMPLE);
        outcome(&pool.submit(guest.task(())).unwrap());
        end(&pool);
        let values = in_time(move || {
            pool.join().unwrap();
            final_results(pool.final_values())
        });
        assert!(
            values
                .iter()
                .all(|(_, value)| matches!(value, Err((Kind::Cancelled, _)))),
            "{values:?}"
        );
        let logs = record
            .rest()
            .into_iter()
            .filter(|event| matches!(event, crate::common::ReceivedEvent::Log(..)));
        assert_eq!(logs.count(), 0, "the final callback did not run");
    }
}
