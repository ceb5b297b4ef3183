//! Measures encoding and decoding of frames, and the checks of their JSON.

use std::hint::black_box;
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;

use mpwasm_protocol::frame::{decode, put};
use mpwasm_protocol::messages::{CallResult, FromWorker, ResourceUsage, Submission};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, OfferId};
use mpwasm_types::json::MAX_JSON_DEPTH;
use mpwasm_types::json::one_line;
use mpwasm_types::task::{TaskInput, TaskSpec};

/// Number of frames in a batch.
const FRAMES: usize = 128;

#[divan::bench]
fn write_a_task(bencher: Bencher<'_, '_>) {
    let mut buffer = Vec::with_capacity(1 << 10);
    bencher.bench_local(|| {
        buffer.clear();
        let task = Submission::Task {
            id: DispatchId(1_000_000),
            retry: None,
            spec: TaskSpec {
                guest: GuestId(0),
                model: ModelId(1),
                timeout: Duration::from_secs(30),
                input: TaskInput::Json(b"[]"),
            },
        };
        put(&mut buffer, &task);
        black_box(&buffer);
    });
}

/// Measures decoding of 128 frames.
#[divan::bench]
fn read_128_endings(bencher: Bencher<'_, '_>) {
    let mut frames = Vec::new();
    for number in 0..FRAMES as u64 {
        let ended = FromWorker::Ended {
            offer: OfferId(1_000_000 + number),
            ending: CallResult::Ok(b"null"),
            run: Duration::from_micros(6),
            measured: ResourceUsage::default(),
        };
        put(&mut frames, &ended);
    }
    let mut inbox = ReceiveBuffer::new(1 << 20);
    bencher.bench_local(|| {
        inbox.space()[..frames.len()].copy_from_slice(&frames);
        inbox.filled(frames.len());
        while let Some(frame) = inbox.next_message().expect("the frames are whole") {
            black_box(decode::<FromWorker<'_>>(frame).expect("it is a message"));
        }
    });
}

/// Measures the check of an array with a string of this length, in bytes.
#[divan::bench(args = [0, 1 << 10, 1 << 20])]
fn check_json(bencher: Bencher<'_, '_>, bytes: usize) {
    let json = format!("[\"{}\"]", "x".repeat(bytes));
    bencher
        .counter(BytesCount::new(json.len()))
        .bench_local(|| one_line(black_box(json.as_bytes()), MAX_JSON_DEPTH).map(|line| line.len()));
}
