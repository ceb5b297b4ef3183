//! Measures the cost of the deadline per task.

use mpwasm_system::clock;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;

use mpwasm_engine::Deadline;
use mpwasm_engine::watchdog::WatchdogHandle;
use mpwasm_types::time::Time;

/// Arms the deadline, checks whether the watchdog must be woken, and disarms the deadline.
#[divan::bench]
fn watch(bencher: Bencher<'_, '_>) {
    let watchdog = WatchdogHandle::new(Arc::new(Deadline::new())).expect("a descriptor is left");
    bencher.bench_local(|| {
        let at = clock::now() + Duration::from_secs(30);
        watchdog.deadline().arm(at);
        watchdog.wake_by(at);
        assert!(watchdog.deadline().disarm());
    });
}

#[divan::bench]
fn look_at_the_clock() -> Time {
    black_box(clock::now())
}
