//! Which tasks of a run have a record in the log that it goes on with.
//!
//! Nothing runs, and the log stays as it is, until every record in it was found again among the tasks: a log of
//! another guest or of other tasks is refused, and never mixed with this run's records. Tasks without a record that come
//! before the last one with a record wait here for that. Which records a log has is in `job_log.rs`.

use std::collections::HashMap;

use anyhow::{anyhow, bail};
use mpwasm_types::settings::RESUME_BUFFER;

use crate::run::output::job_log::{JobLog, LogEntry, RecordKey, TaskIdentity, described};

/// The tasks that were skipped, as having a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkippedTasks {
    /// How many.
    pub tasks: u64,
    /// How many of them had failed, or their callback.
    pub failed: u64,
}

/// Something that comes from where tasks come from, in its place.
#[derive(Debug, PartialEq, Eq)]
pub enum ResumeStep<T> {
    /// So many tasks that have a record.
    Skip(u64),
    /// What has none.
    Run(T),
}

/// See the module.
#[derive(Debug)]
pub struct ResumeCheck<T> {
    entries: HashMap<RecordKey, LogEntry>,
    /// Records of tasks that were not found yet. Those of what was no task need not be.
    missing: usize,
    /// How many tasks there were so far.
    position: u64,
    skipped: SkippedTasks,
    held: Vec<ResumeStep<T>>,
    /// Bytes of what is held.
    bytes: usize,
}

impl<T> ResumeCheck<T> {
    /// A run of these guests, which goes on with this log.
    ///
    /// # Errors
    /// When a record in it is of another guest.
    pub fn new(log: &mut JobLog, guests: &[u64]) -> anyhow::Result<Self> {
        if log.guests.iter().any(|guest| !guests.contains(guest)) {
            bail!(
                "the log is of another guest, or of another build of it: name another file with --results, or write it \
                 anew with --overwrite"
            );
        }
        Ok(Self::of(std::mem::take(&mut log.entries)))
    }

    fn of(entries: HashMap<RecordKey, LogEntry>) -> Self {
        let missing = entries.values().filter(|entry| entry.is_task).count();
        Self {
            entries,
            missing,
            position: 0,
            skipped: SkippedTasks::default(),
            held: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes the next task, which takes so many bytes while it waits.
    ///
    /// # Errors
    /// When its record is one of another task, and when too much waits.
    pub fn take(
        &mut self,
        key: Option<&str>,
        identity: TaskIdentity,
        task: T,
        bytes: usize,
    ) -> anyhow::Result<()> {
        let name = RecordKey::new(self.position, key);
        let as_invalid = RecordKey::invalid(self.position, key);
        self.position += 1;
        let entry = self.entries.remove(&as_invalid);
        let Some(entry) = entry.or_else(|| self.entries.remove(&name)) else {
            self.bytes += bytes;
            if self.bytes > RESUME_BUFFER {
                bail!(
                    "{} records of the log are of none of the first {} tasks, and those of these that have no record are \
                     more than can wait for that ({} MiB). If the log is of other tasks, name another file with \
                     --results, or write it anew with --overwrite; if it is of these, split them into several runs \
                     with a log each",
                    self.missing,
                    self.position,
                    RESUME_BUFFER >> 20
                );
            }
            self.held.push(ResumeStep::Run(task));
            return Ok(());
        };
        if entry.is_task {
            // It is of the guest, too.
            if entry.task != identity.task {
                let name = described(self.position - 1, key);
                bail!(
                    "the log is of other tasks: the record of {name} is of another guest, model, args or stdin. RecordKey another \
                     file with --results, or write it anew with --overwrite"
                );
            }
            self.missing -= 1;
        }
        self.skipped.tasks += 1;
        self.skipped.failed += u64::from(entry.failed);
        match self.held.last_mut() {
            Some(ResumeStep::Skip(count)) => *count += 1,
            _ => {
                self.bytes += size_of::<ResumeStep<T>>();
                self.held.push(ResumeStep::Skip(1));
            }
        }
        Ok(())
    }

    /// Whether all records were found: the run may begin.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The tasks so far, in their order.
    pub fn held(&mut self) -> Vec<ResumeStep<T>> {
        std::mem::take(&mut self.held)
    }

    /// What is skipped.
    pub fn skipped(&self) -> SkippedTasks {
        self.skipped
    }

    /// There are no more tasks.
    ///
    /// # Errors
    /// When there are records of others.
    pub fn end(&self) -> anyhow::Result<()> {
        let missing = self.entries.values().filter(|entry| entry.is_task);
        let Some(line) = missing.map(|entry| entry.line).min() else {
            return Ok(());
        };
        Err(anyhow!(
            "the log is of other tasks: it has {} records of tasks that this run has not, such as that in line {line}. RecordKey another \
             file with --results, or write it anew with --overwrite",
            self.missing
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(task: u64) -> TaskIdentity {
        TaskIdentity { guest: 1, task }
    }

    fn log(records: &[(RecordKey, Option<u64>, bool)]) -> ResumeCheck<u64> {
        let entry = |(name, task, failed): &(RecordKey, Option<u64>, bool)| {
            (
                *name,
                LogEntry {
                    task: task.unwrap_or_default(),
                    line: 17,
                    is_task: task.is_some(),
                    failed: *failed,
                },
            )
        };
        ResumeCheck::of(records.iter().map(entry).collect())
    }

    #[test]
    fn tasks_without_a_record_wait_until_all_records_were_found() {
        let mut resume = log(&[
            (RecordKey::new(1, None), Some(11), false),
            (RecordKey::new(0, Some("k")), Some(13), true),
        ]);
        for (key, task) in [(None, 10), (None, 11), (None, 12), (Some("k"), 13)] {
            assert!(!resume.is_complete());
            resume.take(key, identity(task), task, 1).unwrap();
        }
        assert!(resume.is_complete());
        let steps = [
            ResumeStep::Run(10),
            ResumeStep::Skip(1),
            ResumeStep::Run(12),
            ResumeStep::Skip(1),
        ];
        assert_eq!(resume.held(), steps);
        assert_eq!(resume.skipped(), SkippedTasks { tasks: 2, failed: 1 });
        resume.end().unwrap();
    }

    #[test]
    fn a_key_finds_its_record_wherever_the_task_stands() {
        let mut resume = log(&[(RecordKey::new(0, Some("k")), Some(1), false)]);
        resume.take(None, identity(5), 5, 1).unwrap();
        resume.take(Some("k"), identity(1), 1, 1).unwrap();
        assert_eq!(resume.held(), [ResumeStep::Run(5), ResumeStep::Skip(1)]);
    }

    #[test]
    fn a_log_of_other_tasks_is_refused() {
        let mut resume = log(&[(RecordKey::new(0, None), Some(1), false)]);
        let other = resume.take(None, identity(2), 2, 1).unwrap_err().to_string();
        assert!(
            other.contains("other tasks") && other.contains("task 0"),
            "{other}"
        );
        let mut short = log(&[
            (RecordKey::new(0, None), Some(1), false),
            (RecordKey::new(7, None), Some(2), false),
        ]);
        short.take(None, identity(1), 1, 1).unwrap();
        let why = short.end().unwrap_err().to_string();
        assert!(why.contains("1 records") && why.contains("line 17"), "{why}");
    }

    #[test]
    fn what_waits_is_bounded_and_a_log_whose_records_do_not_come_is_refused() {
        let mut resume = log(&[(RecordKey::new(9, None), Some(9), false)]);
        let half = RESUME_BUFFER / 2;
        resume.take(None, identity(0), 0, half).unwrap();
        resume.take(None, identity(1), 1, half).unwrap();
        let why = resume.take(None, identity(2), 2, 1).unwrap_err().to_string();
        assert!(
            why.contains("1 records") && why.contains("the first 3 tasks") && why.contains("64 MiB"),
            "{why}"
        );
    }

    #[test]
    fn what_was_no_task_is_skipped_whatever_it_is_now_and_need_not_be_there() {
        let mut resume = log(&[
            (RecordKey::invalid(0, None), None, true),
            (RecordKey::invalid(9, None), None, true),
        ]);
        assert!(resume.is_complete());
        resume.take(None, identity(1), 1, 1).unwrap();
        assert_eq!(resume.held(), [ResumeStep::Skip(1)]);
        resume.end().unwrap();
    }

    #[test]
    fn the_second_task_with_a_key_does_not_stand_for_the_first() {
        let mut resume = log(&[(RecordKey::invalid(1, Some("k")), None, true)]);
        resume.take(Some("k"), identity(1), 1, 1).unwrap();
        resume.take(Some("k"), identity(2), 2, 1).unwrap();
        assert_eq!(resume.held(), [ResumeStep::Run(1), ResumeStep::Skip(1)]);
    }
}
