//! What it costs a task to be watched.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;

use crate::guest::Deadline;
use crate::time::Time;
use crate::watchdog::Alarm;

/// Arms the deadline, looks whether the watchdog has to be woken, and disarms it.
#[divan::bench]
fn watch(bencher: Bencher<'_, '_>) {
    let alarm = Alarm::new(Arc::new(Deadline::new())).expect("a descriptor is left");
    bencher.bench_local(|| {
        let at = Time::now() + Duration::from_secs(30);
        alarm.deadline().arm(at);
        alarm.nudge(at);
        assert!(alarm.deadline().disarm());
    });
}

#[divan::bench]
fn look_at_the_clock() -> Time {
    black_box(Time::now())
}
