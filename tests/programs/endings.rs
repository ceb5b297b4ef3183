//! Embeds the pool and ends while the pool is under load. The first argument is the guest of the library's tests, the
//! second names the way of ending, and the third is the time from the start of the load in microseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mpwasm::{CancellationToken, Guest, Pool, Reporter};

fn main() -> Result<(), mpwasm::Error> {
    mpwasm::init();
    let args: Vec<String> = std::env::args().collect();
    let [_, guest, way, moment] = &args[..] else {
        panic!("usage: endings GUEST WAY MICROSECONDS");
    };
    struct Deaf;
    impl Reporter for Deaf {}
    let pool = Pool::builder()
        .size(2)
        .timeout(Duration::from_millis(50))
        .reporter(Deaf)
        .start()?;
    let guest = pool.load(guest)?;
    let pool = Arc::new(pool);
    let is_over = Arc::new(AtomicBool::new(false));
    let load = [push, submit, map].map(|load| {
        let (pool, guest, is_over) = (Arc::clone(&pool), guest.clone(), Arc::clone(&is_over));
        thread::spawn(move || while !is_over.load(Ordering::Relaxed) && load(&pool, &guest) {})
    });
    thread::sleep(Duration::from_micros(moment.parse().expect("a number")));
    match way.as_str() {
        // The last owner drops it, with all tasks that have not ended.
        "drop" => {
            is_over.store(true, Ordering::Relaxed);
            drop(pool);
        }
        "stop" => pool.shutdown(true, false)?,
        "shutdown" => pool.shutdown(true, true)?,
        "terminate" => {
            pool.terminate();
            pool.join()?;
        }
        "panic" => panic!("on purpose"),
        "panic elsewhere" => {
            is_over.store(true, Ordering::Relaxed);
            let panic = move || {
                let _pool = pool;
                panic!("on purpose")
            };
            let _: thread::Result<()> = thread::spawn(panic).join();
        }
        "return" => return Ok(()),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        other => panic!("{other:?} is no way to end"),
    }
    for thread in load {
        thread.join().expect("the load does not panic");
    }
    Ok(())
}

/// Pushes tasks with callbacks. Many trap, and a few spin until their timeout.
fn push(pool: &Pool, guest: &Guest) -> bool {
    let task = |name: &str| guest.model(name).expect("it has this model").task(());
    let quick = (0..20).map(|number| task(if number % 2 == 0 { "logged" } else { "lost" }));
    let spins = std::iter::once(task("spin").timeout(Duration::from_millis(5)));
    pool.push_all(quick.chain(spins)).is_ok()
}

/// Submits a task and waits for it, and cancels a group.
fn submit(pool: &Pool, guest: &Guest) -> bool {
    let token = CancellationToken::new();
    let spin = guest.model("spin").expect("it has this model");
    let submitted = pool.submit(spin.task(()).token(&token));
    token.cancel();
    submitted.is_ok_and(|handle| handle.wait().result.is_err())
}

/// Starts a map and drops it early.
fn map(pool: &Pool, guest: &Guest) -> bool {
    let results = pool.map(guest, 0..).expect("the guest is the pool's");
    results
        .chunk_size(10)
        .take(100)
        .all(|outcome| outcome.result.is_ok())
}
