//! Measures objects that two tasks share, and the same objects of Python's multiprocessing between two processes.

use anyhow::{Context, Result};
use mpwasm::Pool;
use mpwasm::objects::Manager;

use super::measure::{Samples, per_second, timed};
use super::setup::Setup;

/// A guest with a model for each way to use an object. It says how often each uses it.
const GUEST: &str = include_str!("objects.wat");

/// Additions of a task.
const ADDS: u64 = 1_000_000;
/// Pairs of a set and a get of a task.
const PAIRS: u64 = 5000;
/// Items that go from one task to the other, one at a time.
const ITEMS: u64 = 10_000;
/// Items that go from one task to the other in batches of 100.
const MANY_ITEMS: u64 = 200_000;
/// Acquisitions of a task.
const ACQUISITIONS: u64 = 5000;
/// Most items in the queue.
const QUEUE: usize = 1000;

/// Measures a value, a dict, a queue and a lock, each between two tasks.
pub fn shared(_: &Setup) -> Result<Samples> {
    let manager = Manager::start()?;
    let pool = Pool::builder()
        .size(2)
        .object("number", &manager.value::<i64>(0)?)
        .object("dict", &manager.dict::<String, u64>()?)
        .object("queue", &manager.queue::<u64>(QUEUE)?)
        .object("lock", &manager.lock()?)
        .start()?;
    let guest = pool.load_bytes("objects.wat", GUEST.as_bytes())?;
    let both = |models: [&str; 2]| -> Result<f64> {
        timed(|| {
            let handles: Vec<_> = models
                .into_iter()
                .map(|model| pool.submit(guest.model(model)?.task(())))
                .collect::<Result<_, mpwasm::Error>>()?;
            for handle in handles {
                let outcome = handle.wait();
                outcome.result.as_ref().ok().context("a task failed")?;
            }
            anyhow::Ok(())
        })
    };
    both(["lock", "lock"])?; // starts the workers
    let samples = vec![
        ("objects: Value add", per_second(2 * ADDS, both(["add"; 2])?)),
        (
            "objects: Dict get and set",
            per_second(2 * PAIRS, both(["dict"; 2])?),
        ),
        ("objects: Queue", per_second(ITEMS, both(["produce", "consume"])?)),
        (
            "objects: Queue, batches of 100",
            per_second(MANY_ITEMS, both(["produce_many", "consume_many"])?),
        ),
        (
            "objects: contended Lock, us",
            both(["lock"; 2])? * 1e6 / (2 * ACQUISITIONS) as f64,
        ),
    ];
    pool.stop()?;
    Ok(samples)
}

/// Measures the same with multiprocessing.
pub fn of_multiprocessing(setup: &Setup) -> Result<Samples> {
    let mut samples = Samples::new();
    for (name, args) in [
        ("multiprocessing: Value add", ["shared_value", "50000"]),
        (
            "multiprocessing: Manager dict get and set",
            ["shared_dict", "3000"],
        ),
        ("multiprocessing: Queue", ["shared_queue", "30000"]),
        ("multiprocessing: Manager Queue", ["managed_queue", "5000"]),
        (
            "multiprocessing: contended Manager Lock, us",
            ["managed_lock", "2000"],
        ),
    ] {
        samples.extend(setup.peer_number(&args)?.map(|value| (name, value)));
    }
    Ok(samples)
}
