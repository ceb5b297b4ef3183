//! Largest frame per direction.

use mpwasm_types::settings::Settings;

/// Longest output in one message. A longer write of a guest becomes several messages.
pub const OUTPUT_PIECE: usize = 64 << 10;

/// Largest part of a frame that is not its payload: 64 KiB. The payload is the args, a result or a print.
pub const OVERHEAD: usize = 64 << 10;

/// Largest frame with settings and descriptions of guests: 64 MiB. Such a frame comes from a process of higher trust.
pub const MAX_SETUP: usize = 64 << 20;

/// Largest args or result, whatever the settings say: 1 GiB, since the length of a frame has 32 bits.
pub const MAX_PAYLOAD: u64 = 1 << 30;

/// Largest compiled artifact with its description: 1 GiB, since the length of a frame has 32 bits.
pub const MAX_ARTIFACT: usize = 1 << 30;

/// Returns the size of the largest frame from a worker: a result; or an error's data, message and backtrace.
#[must_use]
pub fn worker_frame(settings: &Settings) -> usize {
    payload(settings.max_result).saturating_add(4 * OVERHEAD)
}

/// Returns the size of the largest frame from the dispatcher: one of a worker, with what the dispatcher adds.
#[must_use]
pub fn dispatcher_frame(settings: &Settings) -> usize {
    worker_frame(settings).saturating_add(OVERHEAD)
}

/// Returns the size of the largest frame with a task: its args and its key.
#[must_use]
pub fn task_frame(max_args: u64) -> usize {
    payload(max_args).saturating_add(2 * OVERHEAD)
}

/// Returns the size of the largest frame from the compiler, for a guest whose file has `guest` bytes: its description,
/// and an artifact. The artifact of usual code is five times as large as the file, that of empty functions thirty times.
#[must_use]
pub fn compiler_frame(guest: usize) -> usize {
    guest
        .saturating_mul(32)
        .saturating_add(64 << 20)
        .min(MAX_ARTIFACT)
}

fn payload(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
