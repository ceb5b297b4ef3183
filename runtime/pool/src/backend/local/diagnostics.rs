//! Logs what the children of a pool write to their stderr.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mpwasm_types::escape::escape;

/// Most lines of the children's diagnostics that are logged per second. A compromised worker could write without end. The pipe is
/// drained all the same, so that no process blocks on it.
const DIAGNOSTICS_PER_SECOND: u32 = 50;
/// Longest diagnostic line, bytes; longer lines are split.
const MAX_DIAGNOSTIC: u64 = 4 << 10;

/// Starts the thread that logs the children's diagnostics. The channel is closed when the last process of the pool has exited.
pub fn log(pipe: PipeReader) -> io::Result<mpsc::Receiver<()>> {
    let (alive, gone) = mpsc::channel();
    std::thread::Builder::new()
        .name("mpwasm-diagnostics".to_owned())
        .spawn(move || {
            let _until_the_last_has_exited = alive;
            pass_on(pipe);
        })?;
    Ok(gone)
}

/// Logs what the pool's processes write to their stderr, until the last of them has exited. They write only when something fails.
fn pass_on(pipe: PipeReader) {
    let mut lines = BufReader::new(pipe);
    let (mut second, mut count) = (Instant::now(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(MAX_DIAGNOSTIC).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if second.elapsed() >= Duration::from_secs(1) {
            (second, count) = (Instant::now(), 0);
        }
        count += 1;
        if count <= DIAGNOSTICS_PER_SECOND {
            tracing::warn!("{}", escape(String::from_utf8_lossy(&line).trim_end()));
        }
    }
}
