//! Args and results of all sizes. Small ones are batched and large ones sent separately, which must not be visible.

use mpwasm::Retry;

use super::common::*;

/// Lengths of texts around the bounds for batching and for reused buffers.
const LENGTHS: [usize; 12] = [
    0,
    1,
    300,
    20_000,
    65_500,
    65_532,
    65_536,
    65_560,
    200_000,
    1 << 20,
    3,
    5 << 20,
];

/// Returns a text of this length that differs for each number.
fn text(number: usize, length: usize) -> String {
    let letter = |index: usize| char::from(b'a' + ((index + number * index / 1000 + number) % 23) as u8);
    (0..length).map(letter).collect()
}

fn texts() -> Vec<String> {
    let lengths = LENGTHS.into_iter().cycle().take(5 * LENGTHS.len());
    lengths
        .enumerate()
        .map(|(number, length)| text(number, length))
        .collect()
}

#[test]
fn args_and_results_of_all_sizes_come_back_whole() {
    let (pool, guest) = pool_and_guest(builder());
    let logged = guest.model("logged").unwrap();
    let texts = texts();
    let tasks = texts.iter().enumerate().map(|(number, text)| match number % 3 {
        0 => logged.task([text]),
        _ => guest.task([text]),
    });
    let handles: Vec<_> = tasks.map(|task| pool.submit(task).unwrap()).collect();
    for (handle, text) in handles.iter().zip(&texts) {
        assert!(
            result(&outcome(handle)) == format!("[\"{text}\"]"),
            "{}",
            text.len()
        );
    }
    in_time(|| pool.stop()).unwrap();
}

#[test]
fn items_of_all_sizes_come_back_whole() {
    let (pool, guest) = pool_and_guest(builder());
    let texts = texts();
    for chunk_size in [1, 4] {
        let results = pool.map(&guest, texts.clone()).unwrap().chunk_size(chunk_size);
        let mut count = 0;
        for (outcome, text) in results.zip(&texts) {
            assert!(result(&outcome) == format!("[\"{text}\"]"), "{}", text.len());
            count += 1;
        }
        assert_eq!(count, texts.len());
    }
    in_time(|| pool.stop()).unwrap();
}

/// Args are sent again for each attempt, and a failure contains the args of its task.
#[test]
fn args_of_all_sizes_survive_attempts_that_fail() {
    let (pool, guest) = pool_and_guest(builder());
    let lost = guest.model("lost").unwrap();
    for (number, length) in LENGTHS.into_iter().enumerate() {
        let text = text(number, length);
        let task = lost
            .task([&text])
            .retry(Retry::times(2).also_on(mpwasm::Kind::Trap));
        let ended = outcome(&pool.submit(task).unwrap());
        let error = ended.result.expect_err("it traps");
        assert_eq!((error.kind, ended.attempts), (mpwasm::Kind::Trap, 3));
        assert!(error.args.get() == format!("[\"{text}\"]"), "{length}");
    }
    in_time(|| pool.stop()).unwrap();
}
