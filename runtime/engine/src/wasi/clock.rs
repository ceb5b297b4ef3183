//! WASI's clocks, in place of those of wasmtime-wasi.
//!
//! Absolute times in a `poll_oneoff` must be on the clock that the guest reads, and reading a clock must not build a WASI context.

use mpwasm_system::clock;
use nix::time::{ClockId, clock_gettime};
use wasmtime::{Caller, Linker};

use super::preview1::{MODULE, errno};
use crate::abi::memory::{memory_and_state, range};
use crate::state::InstanceState;

/// Values of `clockid`.
pub(crate) const REALTIME: u32 = 0;
pub(crate) const MONOTONIC: u32 = 1;

/// Defines `clock_time_get`.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    Ok(())
}

/// Returns the nanoseconds since 1970.
pub(crate) fn realtime() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)
        .expect("Linux has this clock, and the kernel can write to our stack");
    // A clock before 1970 is wrong. It reads as 1970.
    u64::try_from(now.tv_sec())
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec().unsigned_abs())
}

fn clock_time_get(
    mut caller: Caller<'_, InstanceState>,
    clock: i32,
    _precision: i64,
    result: i32,
) -> wasmtime::Result<i32> {
    let now = match clock.cast_unsigned() {
        REALTIME => realtime(),
        MONOTONIC => clock::now().0,
        // The clocks of CPU time, which wasmtime-wasi does not have either.
        2 | 3 => return Ok(errno::BADF),
        _ => return Ok(errno::INVAL),
    };
    let (memory, _) = memory_and_state(&mut caller)?;
    let range = range(memory, "clock_time_get", result, 8)?;
    memory[range].copy_from_slice(&now.to_le_bytes());
    Ok(errno::SUCCESS)
}
