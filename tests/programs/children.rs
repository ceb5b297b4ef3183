//! Starts one command after the other. Prints the cost of each, and whether any left descriptors, threads or processes in
//! this program. Its arguments are the command, the number of runs, and the command's own arguments.
//!
//! ```text
//! cargo run --release --example children -- tests/support/guests/command.wat 200 args
//! ```

use std::fs;
use std::time::{Duration, Instant};

use mpwasm::Pool;
use mpwasm::command::Command;

fn main() -> Result<(), mpwasm::Error> {
    mpwasm::init();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [guest, count, args @ ..] = &args[..] else {
        panic!("usage: children GUEST COUNT ARG...");
    };
    let count: usize = count.parse().expect("a number");
    let guest = Pool::builder().load(guest)?;
    let run = || -> Result<Duration, mpwasm::Error> {
        let started = Instant::now();
        Command::new(&guest).args(args).stdin("in").output()?.check()?;
        Ok(started.elapsed())
    };
    run()?;
    let before = settled(None);
    let mut took = (0..count).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    let after = settled(Some(before));
    took.sort_unstable();
    println!(
        "{before:?} before, {after:?} after; a child takes {:.1} ms in the middle",
        took[count / 2].as_secs_f64() * 1e3
    );
    if before == after {
        return Ok(());
    }
    std::process::exit(1);
}

/// Number of descriptors, threads and children of this process, whichever thread started them.
type Held = (usize, usize, usize);

/// Returns the number of this process's children.
fn children() -> usize {
    let own = format!("PPid:\t{}\n", std::process::id());
    let processes = fs::read_dir("/proc").expect("it is there").flatten();
    let is_ours = |process: &fs::DirEntry| {
        // A process that ends meanwhile does not count.
        fs::read_to_string(process.path().join("status")).is_ok_and(|status| status.contains(&own))
    };
    processes.filter(is_ours).count()
}

/// Returns what this process holds, as soon as it is the expected number or after a while. A thread that has finished
/// takes a moment to exit.
fn settled(expected: Option<Held>) -> Held {
    let count = |path: &str| fs::read_dir(path).expect("it is our own").count();
    let end = Instant::now() + Duration::from_secs(10);
    let mut last = (0, 0, 0);
    loop {
        let held = (count("/proc/self/fd"), count("/proc/self/task"), children());
        let is_settled = expected.map_or(held == last, |expected| held == expected);
        if is_settled || Instant::now() > end {
            return held;
        }
        last = held;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
