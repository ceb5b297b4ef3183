//! [`Interrupt::Signal`]: tasks that are stopped at random moments end as they must, and no worker process is lost.
//!
//! `MPWASM_INTERRUPTS` says how many tasks run; 6 000 by default. The test prints what it counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mpwasm::{Guest, Interrupt, Kind, Model, Outcome, TaskHandle};

use crate::common::{builder, outcome};
use crate::support;

/// Tasks in flight: two for each worker, so that none waits for the next.
const IN_FLIGHT: usize = 4;

/// Models of `interrupted.wat` that never end by themselves.
const ENDLESS: [&str; 17] = [
    "loop",
    "memory",
    "simd",
    "float",
    "tree",
    "deep",
    "calls",
    "indirect",
    "spilled",
    "tail",
    "tail_indirect",
    "host",
    "clock",
    "random",
    "fill",
    "grow",
    "table",
];

/// The endless model that is hardly ever outside of operations on much memory, so that it may end with its worker.
const BULK: &str = "fill";

/// Models of `interrupted.wat` that fail by themselves, and how.
const FAILING: [(&str, Kind, &str); 6] = [
    ("overflows", Kind::Trap, "call stack exhausted"),
    ("traps", Kind::Trap, "`unreachable` instruction executed"),
    ("divides", Kind::Trap, "integer divide by zero"),
    ("strays", Kind::Trap, "out of bounds memory access"),
    ("exits", Kind::Exit, "proc_exit(3)"),
    ("fails", Kind::Error, ""),
];

/// Programs that compute, with a size for which each takes some milliseconds.
const COMPUTING: [(&str, u32); 9] = [
    ("matrix", 90),
    ("sieve", 400_000),
    ("mandelbrot", 80),
    ("bodies", 8_000),
    ("hash", 30_000),
    ("fibonacci", 25),
    ("sort", 20_000),
    ("json", 500),
    ("match", 8_000),
];

/// A kind of task, and how it ends if it is not stopped before.
struct Case {
    model: Model,
    args: Vec<u32>,
    end: End,
}

enum End {
    Never,
    Fails(Kind, &'static str),
    Returns(String),
}

/// What the outcomes were.
#[derive(Debug, Default)]
struct Counts {
    /// Tasks that were stopped in the code of a guest, or as it called the host.
    interrupted: u64,
    /// Tasks whose deadline passed before they began.
    late: u64,
    /// Tasks that ended by themselves.
    ended: u64,
    /// Interrupted tasks by model.
    models: BTreeMap<String, u64>,
    /// Tasks by model that ended with their worker: those of [`BULK`], and on a machine so busy that it gave a worker no processor
    /// for 100 ms.
    lost_models: BTreeMap<String, u64>,
    /// Processes of workers.
    pids: BTreeSet<u32>,
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tasks_that_are_interrupted_at_random_moments_end_as_they_must_and_keep_their_worker() {
    let count = std::env::var("MPWASM_INTERRUPTS").map_or(6_000, |count| count.parse().unwrap());
    let pool = builder().interrupt(Interrupt::Signal).start().unwrap();
    let guest = pool
        .load_bytes("interrupted.wat", include_bytes!("interrupted.wat"))
        .unwrap();
    let programs = pool.load(support::guest("programs")).unwrap();
    let cases = cases(&guest, &programs, |task| pool.submit(task).unwrap());

    let mut counts = Counts::default();
    let mut running: VecDeque<(usize, TaskHandle)> = VecDeque::new();
    for _ in 0..count {
        if running.len() == IN_FLIGHT {
            let (case, handle) = running.pop_front().unwrap();
            counts.add(&cases[case], &outcome(&handle));
        }
        let case = rand::random_range(0..cases.len());
        // Long enough that most begin, and short enough that most do not end by themselves.
        let timeout = Duration::from_micros(rand::random_range(20..1_000));
        let task = cases[case].model.task(&cases[case].args).timeout(timeout);
        running.push_back((case, pool.submit(task).unwrap()));
    }
    for (case, handle) in running {
        counts.add(&cases[case], &outcome(&handle));
    }
    pool.stop().unwrap();
    println!("{counts:#?}");
    assert!(
        counts.interrupted >= count / 2,
        "most are interrupted: {counts:#?}"
    );
    let lost = |of_bulk: bool| {
        let models = counts.lost_models.iter();
        models
            .filter(move |(model, _)| (*model == BULK) == of_bulk)
            .map(|(_, lost)| lost)
            .sum::<u64>()
    };
    assert!(lost(false) <= count / 100, "{counts:#?}");
    // One of the two workers may have started before the second guest was loaded, and is then replaced.
    let most = 3 + lost(true) + lost(false);
    assert!(counts.pids.len() as u64 <= most, "{counts:#?}");
}

/// Returns all kinds of tasks. Runs the programs once to know what they return.
fn cases(guest: &Guest, programs: &Guest, submit: impl Fn(mpwasm::Task) -> TaskHandle) -> Vec<Case> {
    let endless = ENDLESS.map(|name| (name, End::Never));
    let failing = FAILING.map(|(name, kind, words)| (name, End::Fails(kind, words)));
    let mut cases: Vec<Case> = endless
        .into_iter()
        .chain(failing)
        .map(|(name, end)| Case {
            model: guest.model(name).unwrap(),
            args: Vec::new(),
            end,
        })
        .collect();
    for (name, size) in COMPUTING {
        let model = programs.model(name).unwrap();
        let args = vec![size];
        let result = outcome(&submit(model.task(&args))).result.unwrap();
        cases.push(Case {
            model,
            args,
            end: End::Returns(result.get().to_owned()),
        });
    }
    cases
}

impl Counts {
    /// Checks how a task has ended, and counts it.
    fn add(&mut self, case: &Case, outcome: &Outcome) {
        self.pids.extend(outcome.usage.pid);
        let error = match (&outcome.result, &case.end) {
            (Ok(result), End::Returns(expected)) => {
                assert_eq!(result.get(), expected, "{outcome:?}");
                self.ended += 1;
                return;
            }
            (Ok(_), _) => panic!("it returned: {outcome:?}"),
            (Err(error), _) => error,
        };
        match &case.end {
            End::Fails(kind, words) if error.kind == *kind => {
                assert!(error.message.contains(words), "{outcome:?}");
                self.ended += 1;
                return;
            }
            _ => assert_eq!(error.kind, Kind::Timeout, "{outcome:?}"),
        }
        let place = error.message.strip_prefix("the deadline passed ");
        if place.is_some_and(|place| place.starts_with("in `")) {
            self.interrupted += 1;
            *self.models.entry(outcome.model.clone()).or_default() += 1;
            assert!(!error.backtrace.is_empty(), "{outcome:?}");
        } else if place.is_some() {
            self.late += 1;
        } else {
            *self.lost_models.entry(outcome.model.clone()).or_default() += 1;
        }
    }
}
