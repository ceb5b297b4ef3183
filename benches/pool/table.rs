//! Prints the tables: the figures with their bounds, and all measurements.

use super::measure::Measured;

/// The direction in which a figure improves.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}
use Better::{Higher, Lower};

/// A figure: the median of a measurement, divided by that of another if it is a ratio.
struct Figure {
    says: &'static str,
    of: &'static str,
    against: Option<(&'static str, f64)>,
    better: Better,
    bound: f64,
    stretch: f64,
}

const fn ratio(
    says: &'static str,
    of: &'static str,
    against: (&'static str, f64),
    better: Better,
    bound: f64,
    stretch: f64,
) -> Figure {
    Figure {
        says,
        of,
        against: Some(against),
        better,
        bound,
        stretch,
    }
}

const fn plain(says: &'static str, of: &'static str, better: Better, bound: f64, stretch: f64) -> Figure {
    Figure {
        says,
        of,
        against: None,
        better,
        bound,
        stretch,
    }
}

/// Twice the throughput limit of one process.
const LIMIT: (&str, f64) = ("limit", 2.0);

/// The figures and their bounds.
const FIGURES: &[Figure] = &[
    ratio(
        "no-op tasks, of twice the in-process limit",
        "tasks",
        LIMIT,
        Higher,
        0.7,
        0.85,
    ),
    ratio(
        "no-op tasks with callbacks, of it",
        "tasks, callbacks",
        LIMIT,
        Higher,
        0.5,
        0.65,
    ),
    ratio(
        "no-op tasks from file to file, of it",
        "tasks, file to file",
        LIMIT,
        Higher,
        0.45,
        0.7,
    ),
    ratio(
        "with callbacks, times multiprocessing's apply_async",
        "tasks, callbacks",
        ("multiprocessing: apply_async", 1.0),
        Higher,
        6.0,
        9.0,
    ),
    ratio(
        "items of a map in chunks of 100, times concurrent.futures' in such",
        "map, chunks of 100",
        ("concurrent.futures: map, chunks of 100", 1.0),
        Higher,
        1.0,
        2.0,
    ),
    ratio(
        "submit and wait, p50, of multiprocessing's",
        "submit and wait, us",
        ("multiprocessing: apply, us", 1.0),
        Lower,
        1.0,
        0.5,
    ),
    ratio(
        "start to first result, of multiprocessing's",
        "start to first result, ms",
        ("multiprocessing: first result, ms", 1.0),
        Lower,
        0.4,
        0.2,
    ),
    ratio(
        "memory of 5 idle workers, of multiprocessing's",
        "memory of 5 idle workers, MiB",
        ("multiprocessing: memory, MiB", 1.0),
        Lower,
        1.0,
        0.75,
    ),
    plain(
        "overshoot of a timeout, p50, ms",
        "overshoot p50, ms",
        Lower,
        0.2,
        0.12,
    ),
    plain(
        "overshoot of a timeout, p90, ms",
        "overshoot p90, ms",
        Lower,
        0.35,
        0.2,
    ),
    plain(
        "exec of a command of 38 MB of code, above an empty one, ms",
        "exec of a large command, above an empty one, ms",
        Lower,
        10.0,
        3.0,
    ),
    plain(
        "worker killed to next task, p50, ms",
        "kill to next task, ms",
        Lower,
        6.0,
        3.0,
    ),
    ratio(
        "1 MiB echoed, times concurrent.futures",
        "1 MiB echoed, MB/s",
        ("concurrent.futures: 1 MiB, MB/s", 1.0),
        Higher,
        1.0,
        2.0,
    ),
    plain(
        "computing for 20 ms, of plain processes",
        "computing, of plain processes",
        Higher,
        0.97,
        0.99,
    ),
    plain(
        "nine programs with --interrupt kill, of the engine without checks, geometric mean",
        "programs, kill, mean",
        Lower,
        1.05,
        1.02,
    ),
    plain("the slowest of them", "programs, kill, worst", Lower, 1.15, 1.05),
    ratio(
        "no-op tasks, times `wasmtime run`",
        "tasks",
        ("wasmtime run", 1.0),
        Higher,
        100.0,
        1000.0,
    ),
    ratio(
        "additions to a shared value, times multiprocessing.Value's",
        "objects: Value add",
        ("multiprocessing: Value add", 1.0),
        Higher,
        20.0,
        100.0,
    ),
    ratio(
        "sets and gets of a shared dict, times Manager().dict()'s",
        "objects: Dict get and set",
        ("multiprocessing: Manager dict get and set", 1.0),
        Higher,
        4.0,
        8.0,
    ),
    ratio(
        "items of a shared queue, times multiprocessing.Queue's",
        "objects: Queue",
        ("multiprocessing: Queue", 1.0),
        Higher,
        1.0,
        2.0,
    ),
    ratio(
        "items of a shared queue, times Manager().Queue()'s",
        "objects: Queue",
        ("multiprocessing: Manager Queue", 1.0),
        Higher,
        6.0,
        10.0,
    ),
    ratio(
        "items of a shared queue in batches of 100, times multiprocessing.Queue's",
        "objects: Queue, batches of 100",
        ("multiprocessing: Queue", 1.0),
        Higher,
        5.0,
        10.0,
    ),
    ratio(
        "hand-over of a contended lock, of Manager().Lock()'s",
        "objects: contended Lock, us",
        ("multiprocessing: contended Manager Lock, us", 1.0),
        Lower,
        0.3,
        0.15,
    ),
];

/// Prints the figures that were measured.
pub fn figures(measured: &Measured) {
    println!("| figure | measured | bound | stretch | |");
    println!("|---|---|---|---|---|");
    for figure in FIGURES {
        let against = match figure.against {
            Some((name, times)) => measured.median(name).map(|value| value * times),
            None => Some(1.0),
        };
        if let (Some(of), Some(against)) = (measured.median(figure.of), against) {
            let value = of / against;
            let reaches = |bound: f64| match figure.better {
                Higher => value >= bound,
                Lower => value <= bound,
            };
            let verdict = match (reaches(figure.stretch), reaches(figure.bound)) {
                (true, _) => "stretch",
                (false, true) => "bound",
                (false, false) => "missed",
            };
            let (says, bound, stretch) = (figure.says, figure.bound, figure.stretch);
            println!("| {says} | {} | {bound} | {stretch} | {verdict} |", short(value));
        }
    }
}

/// Prints all measurements.
pub fn all(measured: &Measured) {
    println!("| measured | median | least | most | runs |");
    println!("|---|---|---|---|---|");
    for (name, [least, median, most], runs) in measured.all() {
        println!(
            "| {name} | {} | {} | {} | {runs} |",
            short(median),
            short(least),
            short(most)
        );
    }
}

/// Formats a number with three significant digits, or with all digits before the decimal point.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
