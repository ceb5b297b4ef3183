//! Parses and checks the records of runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::programs::{mpwasm, run_within};

/// Parses the JSON lines in `text`.
pub fn records(text: &[u8]) -> Vec<Value> {
    let parse = |line: &[u8]| {
        serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)))
    };
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(parse)
        .collect()
}

/// Runs `mpwasm run --results - ARGS...`. Returns the records in the order of their ids, and how the run ended.
pub fn run_records(limit: Duration, args: &[&str]) -> (Vec<Value>, Output) {
    let output = run_within(limit, mpwasm().args(["run", "--results", "-"]).args(args));
    let mut all = records(&output.stdout);
    all.sort_by_key(|record| record["id"].as_u64());
    (all, output)
}

/// Asserts that every id from 0 to `count` occurs exactly once.
pub fn assert_each_id_once(records: &[Value], count: u64) {
    let mut ids: Vec<_> = records
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..count).collect::<Vec<_>>());
}

/// Returns how many records have each status, such as `[("ok", 3)]`.
pub fn statuses(records: &[Value]) -> Vec<(&str, usize)> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record["status"].as_str().unwrap()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// Asserts that ids count up from 0 without gaps or repetitions, however many there are, and that only the allowed
/// statuses occur. Returns how many records have each.
pub fn assert_accounted<'a>(records: &'a [Value], allowed: &[&str]) -> BTreeMap<&'a str, usize> {
    assert_each_id_once(records, records.len() as u64);
    let counts = statuses(records);
    assert!(
        counts.iter().all(|(status, _)| allowed.contains(status)),
        "{counts:?}"
    );
    counts.into_iter().collect()
}

/// Returns the records in the file of a run that was killed. At most the last line may be torn.
pub fn surviving_records(path: &Path) -> Vec<Value> {
    let text = fs::read(path).unwrap();
    let whole = text
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let all = records(&text[..whole]);
    let mut ids: Vec<_> = all.iter().map(|record| record["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(
        ids.windows(2).all(|pair| pair[0] < pair[1]),
        "a task has two records"
    );
    all
}
