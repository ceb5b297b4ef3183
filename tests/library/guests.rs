//! Guests: several at once, loaded late, large ones, and tasks that guests push themselves.

use std::fmt::Write;
use std::time::Duration;

use mpwasm::{Cache, Error, Guest, Pool, TaskId};

use crate::common::{
    GUEST, LONG, assert_dense, builder, in_time, outcome, pool_and_guest, recorded, status, task,
};
use crate::support;

/// Returns a guest whose unnamed model returns `number`.
fn constant(number: usize) -> String {
    format!(
        r#"(module (import "mpwasm_v1" "output_write" (func $out (param i32 i32)))
             (memory (export "memory") 1) (data (i32.const 0) "{number:02}")
             (func (export "runnable") (result i32) (call $out (i32.const {skip}) (i32.const {length})) (i32.const 0)))"#,
        skip = usize::from(number < 10),
        length = if number < 10 { 1 } else { 2 },
    )
}

/// Returns a guest that pushes `count` tasks, and then does `then`. Its unnamed model returns the size of its args in
/// bytes.
fn pusher(count: usize, then: &str) -> String {
    let task = r#"{"args":[1]}"#;
    format!(
        r#"(module (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
             (memory (export "memory") 1) (data (i32.const 0) "{text}")
             (func (export "runnable") (result i32) (i32.const 0))
             (func (export "tasks") (result i32) (local $n i32)
               (loop $next
                 (drop (call $push (i32.const 0) (i32.const {length})))
                 (local.set $n (i32.add (local.get $n) (i32.const 1)))
                 (br_if $next (i32.lt_u (local.get $n) (i32.const {count}))))
               {then}))"#,
        text = task.replace('"', "\\\""),
        length = task.len(),
    )
}

fn load(pool: &Pool, name: &str, text: &str) -> Guest {
    pool.load_bytes(name, text.as_bytes()).unwrap()
}

fn result(pool: &Pool, guest: &Guest) -> String {
    outcome(&pool.submit(guest.task(())).unwrap())
        .result
        .unwrap()
        .get()
        .to_owned()
}

#[test]
fn an_idle_worker_gives_the_memory_of_its_tasks_back() {
    let pool = builder().size(1).start().unwrap();
    let text = r#"(module (memory (export "memory") 1)
        (func (export "runnable") (result i32)
          (drop (memory.grow (i32.const 512)))
          (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x2000000)) (i32.const 0)))"#;
    let guest = load(&pool, "writer", text);
    // After some of these the worker keeps the pages for the next.
    let mut pid = None;
    for _ in 0..5 {
        pid = outcome(&pool.submit(guest.task(())).unwrap()).usage.pid;
    }
    let pid = pid.unwrap();
    assert!(support::peak_resident(pid).unwrap() > 32 << 20);
    support::until(|| (support::resident(pid).unwrap() < 32 << 20).then_some(()));
    pool.stop().unwrap();
}

#[test]
fn each_guest_answers_for_itself() {
    let pool = builder().start().unwrap();
    let guests: Vec<_> = (0..6)
        .map(|number| load(&pool, &format!("guest {number}"), &constant(number)))
        .collect();
    for (number, guest) in guests.iter().enumerate().chain(guests.iter().enumerate().rev()) {
        assert_eq!(guest.name(), format!("guest {number}"));
        assert_eq!(result(&pool, guest), number.to_string());
    }
}

#[test]
fn guests_can_be_loaded_from_many_threads_while_tasks_run() {
    let (pool, guest, record) = recorded(builder());
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (pool, guest) = (&pool, &guest);
            scope.spawn(move || {
                pool.push_all((0..50).map(|_| guest.task([number]))).unwrap();
                let own = load(pool, "own", &constant(number));
                assert_eq!(result(pool, &own), number.to_string());
            });
        }
    });
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert!(outcomes.iter().all(|outcome| outcome.status() == "ok"));
    assert_eq!(assert_dense(outcomes.iter().map(|outcome| outcome.id)), 306);
}

#[test]
fn a_late_guest_is_served_by_workers_that_take_the_place_of_idle_ones() {
    let (pool, guest, record) = recorded(builder());
    let running = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&running]);
    // One worker is busy; the other one is replaced.
    let late = load(&pool, "late", &constant(7));
    assert_eq!(result(&pool, &late), "7");
    assert!(
        running.wait_timeout(Duration::ZERO).is_none(),
        "the busy one is left alone"
    );
    running.cancel();
    assert_eq!(status(&running), "cancelled");
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
}

#[test]
fn a_late_guest_waits_for_the_only_worker() {
    let (pool, guest, record) = recorded(builder().size(1));
    let running = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&running]);
    let late = load(&pool, "late", &constant(7));
    let waiting = pool.submit(late.task(())).unwrap();
    assert!(waiting.wait_timeout(Duration::ZERO).is_none());
    running.cancel();
    let (running, waiting) = (outcome(&running), outcome(&waiting));
    assert_eq!((running.status(), waiting.status()), ("cancelled", "ok"));
    assert_ne!(
        running.usage.pid, waiting.usage.pid,
        "a worker loads guests only when it starts"
    );
}

#[test]
fn a_guest_may_have_64_models() {
    let mut text = String::from(
        "(module (import \"mpwasm_v1\" \"output_write\" (func $out (param i32 i32)))\n(memory (export \"memory\") 1)\n",
    );
    for number in 0..64 {
        // With a leading 1 every number has the same length.
        let (at, value) = (4 * number, 100 + number);
        writeln!(
            text,
            "(data (i32.const {at}) \"{value}\") (func (export \"m{number}.runnable\") (result i32)
               (call $out (i32.const {at}) (i32.const 3)) (i32.const 0))"
        )
        .unwrap();
    }
    text.push(')');
    let pool = builder().start().unwrap();
    let guest = load(&pool, "64 models", &text);
    assert_eq!(guest.info().models.len(), 64);
    let submit = |number| {
        let model = guest.model(&format!("m{number}")).unwrap();
        assert_eq!(model.name(), format!("m{number}"));
        pool.submit(model.task(())).unwrap()
    };
    let handles: Vec<_> = (0..64).map(submit).collect();
    for (number, handle) in handles.iter().enumerate() {
        let ended = outcome(handle);
        assert_eq!(ended.model, format!("m{number}"));
        assert_eq!(ended.result.unwrap().get(), (100 + number).to_string());
    }
}

#[test]
fn what_is_in_a_guest_can_be_read() {
    let (_pool, guest) = pool_and_guest(builder());
    let info = guest.info();
    let names: Vec<_> = info.models.iter().map(|model| &*model.name).collect();
    for name in ["", "logged", "lost", "sleep", "spin", "stuck", "trap"] {
        assert!(names.contains(&name), "{name:?} is missing in {names:?}");
    }
    assert!(!info.has_tasks && !info.is_command && info.refusals.is_empty());
    assert!(info.imports.contains(&("mpwasm_v1".into(), "log".into())));
}

#[test]
fn a_guest_is_loaded_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wat");
    std::fs::write(&path, GUEST).unwrap();
    let pool = builder().start().unwrap();
    let guest = pool.load(&path).unwrap();
    assert_eq!(guest.name(), path.display().to_string());
    // A later change of the file has no effect.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
}

#[test]
fn a_guest_pushes_its_own_tasks() {
    let (recorder, record) = crate::common::recorder();
    let pool = builder().reporter(recorder).start().unwrap();
    let guest = load(&pool, "pusher", &pusher(1000, "(i32.const 0)"));
    assert_eq!(pool.push_from_guest(&guest).unwrap(), 1000);
    assert_eq!(pool.push(guest.task([1])).unwrap(), TaskId(1000));
    in_time(|| pool.stop()).unwrap();
    assert_eq!(
        assert_dense(record.outcomes().iter().map(|outcome| outcome.id)),
        1001
    );
}

#[test]
fn when_tasks_fails_what_was_pushed_runs_all_the_same() {
    for (then, timeout, reason) in [
        ("(unreachable)", LONG, "trap"),
        ("(i32.const 5)", LONG, "error"),
        // Enough for the pushes and the tasks, even if one of these processes is descheduled.
        ("(loop $l (br $l)) (i32.const 0)", Duration::from_secs(6), ""),
    ] {
        let (recorder, record) = crate::common::recorder();
        let pool = builder().timeout(timeout).reporter(recorder).start().unwrap();
        let guest = load(&pool, "pusher", &pusher(3, then));
        match pool.push_from_guest(&guest) {
            Err(Error::Tasks { pushed: 3, why }) => assert!(why.contains(reason), "{why}"),
            other => panic!("{then}: {other:?}"),
        }
        in_time(|| pool.stop()).unwrap();
        assert_eq!(record.outcomes().len(), 3, "{then}");
    }
}

#[test]
fn a_guest_can_not_push_more_than_it_may() {
    let pool = builder().max_tasks(10).start().unwrap();
    let guest = load(&pool, "pusher", &pusher(11, "(i32.const 0)"));
    assert!(matches!(
        pool.push_from_guest(&guest),
        Err(Error::Tasks { pushed: 10, .. })
    ));
    let guest = load(&pool, "pusher", &pusher(10, "(i32.const 0)"));
    assert_eq!(pool.push_from_guest(&guest).unwrap(), 10);
}

#[test]
fn a_guest_that_pushes_leaves_no_process_when_the_pool_is_killed() {
    let (recorder, record) = crate::common::recorder();
    let pool = builder().reporter(recorder).start().unwrap();
    let guest = load(&pool, "pusher", &pusher(1, "(loop $l (br $l)) (i32.const 0)"));
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| pool.push_from_guest(&guest));
        // The task that it pushed has ended. From now on it spins.
        record.wait_for_outcome();
        pool.terminate();
        pushing.join().unwrap()
    });
    assert!(matches!(pushed, Err(Error::Closed)), "{pushed:?}");
    // Its process was a child of this one, and was reaped before the call returned.
    in_time(|| drop(pool));
}

/// Returns a guest with 64 models whose names have 240 bytes. The unnamed model returns `number`.
fn with_long_names(number: usize) -> String {
    let mut text = format!(
        "(module (import \"mpwasm_v1\" \"output_write\" (func $out (param i32 i32)))
           (memory (export \"memory\") 1) (data (i32.const 0) \"{}\")
           (func $runnable (export \"runnable\") (result i32)
             (call $out (i32.const 0) (i32.const 3)) (i32.const 0))
           (func $other (result i32) (i32.const 0))",
        100 + number
    );
    for model in 1..64 {
        let name = format!("{model:x<240}");
        for (export, function) in [
            ("runnable", "runnable"),
            ("callback", "other"),
            ("error_callback", "other"),
        ] {
            writeln!(text, "(export \"{name}.{export}\" (func ${function}))").unwrap();
        }
    }
    text.push(')');
    text
}

/// Loads `count` guests and runs a task of each, twice. The guests are of a few kinds, so that few are compiled.
fn serve_guests(count: usize, kinds: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    let (recorder, record) = crate::common::recorder();
    let pool = builder()
        .cache(Cache::at(dir.path().join("cache")))
        .reporter(recorder)
        .start()
        .unwrap();
    let guests: Vec<_> = (0..count)
        .map(|number| load(&pool, &format!("guest {number}"), &kinds[number % kinds.len()]))
        .collect();
    for _ in 0..2 {
        pool.push_all(guests.iter().map(|guest| guest.task(()))).unwrap();
    }
    let last = guests.last().unwrap().model(&format!("{:x<240}", 63));
    if let Ok(model) = &last {
        assert_eq!(status(&pool.submit(model.task(())).unwrap()), "ok");
    }
    in_time(|| pool.stop()).unwrap();
    let mut outcomes = record.outcomes();
    outcomes.sort_by_key(|outcome| outcome.id);
    assert_eq!(outcomes.len(), 2 * count + usize::from(last.is_ok()));
    for (number, outcome) in outcomes[..2 * count].iter().enumerate() {
        assert_eq!(outcome.status(), "ok", "guest {}: {outcome:?}", number % count);
        let expected = 100 + number % count % kinds.len();
        assert_eq!(outcome.result.as_ref().unwrap().get(), expected.to_string());
    }
}

#[test]
fn guests_with_long_names_need_no_room_in_a_socket() {
    serve_guests(8, &[with_long_names(0), with_long_names(1)]);
}

#[test]
fn a_thousand_guests_with_long_names_serve_one_pool() {
    let kinds: Vec<_> = (0..4).map(with_long_names).collect();
    serve_guests(1000, &kinds);
}
