//! A run is killed and resumed again and again: in the end each task has exactly one record, and no task that had a
//! record has run again.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;

use crate::session::{HANGS, Lines, Session, chance, many, random_moment, surviving_records};
use crate::support::{assert_each_id_once, fixture, send, statuses, until};

const KILLS: u64 = 20;

/// Resumes the log with the first `count` tasks, each of which prints its number. The run can't end by itself before the
/// returned sender is dropped.
fn go_on(log: &Path, option: &str, count: u64) -> (Session, Lines, Sender<()>) {
    let print = fixture("print");
    let args = ["--size=3", option, "--tasks=-", &print, "--results"];
    let mut run = Session::start(&[&args[..], &[log.to_str().unwrap()]].concat());
    let lines: String = (0..count)
        .map(|number| format!("{{\"args\":[\"{number}\\n\",\"\"]}}\n"))
        .collect();
    let mut stdin = run.stdin.take().unwrap();
    let (open, kept_open) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = stdin.write_all(lines.as_bytes()); // the run may be killed before it has read everything
        let _ = kept_open.recv();
    });
    let stdout = run.read();
    (run, stdout, open)
}

fn ids(log: &Path) -> HashSet<u64> {
    surviving_records(log)
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect()
}

/// Returns the printed numbers, from complete lines.
fn printed(stdout: &[u8]) -> Vec<u64> {
    let text = str::from_utf8(stdout).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

fn assert_none_again(before: &HashSet<u64>, printed: Vec<u64>) {
    let again: Vec<_> = printed
        .into_iter()
        .filter(|number| before.contains(number))
        .collect();
    assert!(again.is_empty(), "they have run again: {again:?}");
}

#[test]
fn each_task_has_one_record_however_often_the_run_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    fs::write(&log, "").unwrap();
    let mut chance = chance();
    let total = many();
    for kill in 1..=KILLS {
        let before = ids(&log);
        let text = fs::read(&log).unwrap();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let count = total * kill / (KILLS + 1);
        let (mut run, stdout, _open) = go_on(&log, "--resume", count);
        // Some, all or none of the new tasks have a record.
        let new = chance.random_range(0..=count - before.len() as u64);
        until(|| {
            let records = fs::read(&log)
                .unwrap()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            (records as u64 >= before.len() as u64 + new).then_some(())
        });
        random_moment(&mut chance, Duration::from_millis(20));
        if kill % 2 == 0 {
            send(run.one("dispatcher"), Signal::SIGKILL);
            assert_eq!(run.wait(HANGS).code(), Some(3));
            run.assert_gone();
        } else {
            run.kill_parent();
        }
        assert_none_again(&before, printed(&stdout.all()));
        assert_eq!(
            &fs::read(&log).unwrap()[..whole],
            &text[..whole],
            "what was there stays"
        );
    }
    let before = ids(&log);
    let (run, stdout, open) = go_on(&log, "--resume", total);
    drop(open);
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    assert_none_again(&before, printed(&ended.stdout));
    let records = surviving_records(&log);
    assert_each_id_once(&records, total);
    assert!(
        records
            .iter()
            .all(|record| ["ok", "crash"].contains(&record["status"].as_str().unwrap())),
        "{:?}",
        statuses(&records)
    );
    // Tasks that a killed dispatcher had in flight have failed, and are retried on request.
    let (run, stdout, open) = go_on(&log, "--retry-failed", total);
    drop(open);
    run.finish(stdout, HANGS).assert_code(0);
    let records = surviving_records(&log);
    assert_each_id_once(&records, total);
    assert_eq!(statuses(&records), [("ok", total as usize)]);
}
