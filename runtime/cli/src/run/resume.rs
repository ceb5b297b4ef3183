//! Matches the tasks of a run with the records of the log that it resumes.
//!
//! No task runs, and the log is not changed, until every record in it is matched with a task. So a log of another guest or of
//! other tasks is refused, and never mixed with this run's records. Until then, tasks without a record are buffered here.

use std::collections::HashMap;

use anyhow::{anyhow, bail};

use crate::run::output::job_log::{JobLog, LogEntry};
use crate::run::output::task_identity::{RecordKey, TaskIdentity, described};

/// Bytes of tasks without a record that wait until `--resume` has read all records. Nothing runs until then, so they may take a
/// quarter of what the parent may have.
const RESUME_BUFFER: usize = 64 << 20;

/// Numbers of tasks that were skipped because they have a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkippedTasks {
    /// All skipped tasks.
    pub tasks: u64,
    /// Those that had failed, or whose callback had.
    pub failed: u64,
}

/// A step of the run, in the order of tasks.
#[derive(Debug, PartialEq, Eq)]
pub enum ResumeStep<T> {
    /// Skips this number of tasks, which have a record.
    Skip(u64),
    /// Runs a task that has none.
    Run(T),
}

/// Matches tasks with the records of a log.
#[derive(Debug)]
pub struct ResumeCheck<T> {
    entries: HashMap<RecordKey, LogEntry>,
    /// Number of records that are not matched yet. Records of invalid tasks don't count.
    missing: usize,
    /// Number of tasks so far.
    position: u64,
    skipped: SkippedTasks,
    steps: Vec<ResumeStep<T>>,
    /// Size of the buffered steps.
    bytes: usize,
}

impl<T> ResumeCheck<T> {
    /// Returns a check for a run of these guests that resumes `log`.
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
            steps: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds the next task, which takes `bytes` while it is buffered.
    ///
    /// # Errors
    /// When its record is of another task, or too much is buffered.
    pub fn add(
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
            self.steps.push(ResumeStep::Run(task));
            return Ok(());
        };
        if entry.is_task {
            // This hash includes the guest.
            if entry.task != identity.task {
                let name = described(self.position - 1, key);
                bail!(
                    "the log is of other tasks: the record of {name} is of another guest, model, args or stdin. Name another \
                     file with --results, or write it anew with --overwrite"
                );
            }
            self.missing -= 1;
        }
        self.skipped.tasks += 1;
        self.skipped.failed += u64::from(entry.failed);
        match self.steps.last_mut() {
            Some(ResumeStep::Skip(count)) => *count += 1,
            _ => {
                self.bytes += size_of::<ResumeStep<T>>();
                self.steps.push(ResumeStep::Skip(1));
            }
        }
        Ok(())
    }

    /// Returns whether all records are matched, so that the run may begin.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Removes and returns the buffered steps.
    pub fn take_steps(&mut self) -> Vec<ResumeStep<T>> {
        std::mem::take(&mut self.steps)
    }

    /// Returns the numbers of skipped tasks.
    pub fn skipped(&self) -> SkippedTasks {
        self.skipped
    }

    /// Checks the remaining records after the last task.
    ///
    /// # Errors
    /// When there are records of tasks that this run does not have.
    pub fn finish(&self) -> anyhow::Result<()> {
        let missing = self.entries.values().filter(|entry| entry.is_task);
        let Some(line) = missing.map(|entry| entry.line).min() else {
            return Ok(());
        };
        Err(anyhow!(
            "the log is of other tasks: it has {} records of tasks that this run has not, such as that in line {line}. Name another \
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
            resume.add(key, identity(task), task, 1).unwrap();
        }
        assert!(resume.is_complete());
        let steps = [
            ResumeStep::Run(10),
            ResumeStep::Skip(1),
            ResumeStep::Run(12),
            ResumeStep::Skip(1),
        ];
        assert_eq!(resume.take_steps(), steps);
        assert_eq!(resume.skipped(), SkippedTasks { tasks: 2, failed: 1 });
        resume.finish().unwrap();
    }

    #[test]
    fn a_key_finds_its_record_wherever_the_task_stands() {
        let mut resume = log(&[(RecordKey::new(0, Some("k")), Some(1), false)]);
        resume.add(None, identity(5), 5, 1).unwrap();
        resume.add(Some("k"), identity(1), 1, 1).unwrap();
        assert_eq!(resume.take_steps(), [ResumeStep::Run(5), ResumeStep::Skip(1)]);
    }

    #[test]
    fn a_log_of_other_tasks_is_refused() {
        let mut resume = log(&[(RecordKey::new(0, None), Some(1), false)]);
        let other = resume.add(None, identity(2), 2, 1).unwrap_err().to_string();
        assert!(
            other.contains("other tasks") && other.contains("task 0"),
            "{other}"
        );
        assert!(
            other.contains("stdin. Name another file with --results"),
            "{other}"
        );
        let mut short = log(&[
            (RecordKey::new(0, None), Some(1), false),
            (RecordKey::new(7, None), Some(2), false),
        ]);
        short.add(None, identity(1), 1, 1).unwrap();
        let why = short.finish().unwrap_err().to_string();
        assert!(why.contains("1 records") && why.contains("line 17"), "{why}");
        assert!(why.contains("17. Name another file with --results"), "{why}");
    }

    #[test]
    fn the_buffer_is_bounded_and_a_log_with_unmatched_records_is_refused() {
        let mut resume = log(&[(RecordKey::new(9, None), Some(9), false)]);
        let half = RESUME_BUFFER / 2;
        resume.add(None, identity(0), 0, half).unwrap();
        resume.add(None, identity(1), 1, half).unwrap();
        let why = resume.add(None, identity(2), 2, 1).unwrap_err().to_string();
        assert!(
            why.contains("1 records") && why.contains("the first 3 tasks") && why.contains("64 MiB"),
            "{why}"
        );
    }

    #[test]
    fn an_invalid_task_is_skipped_and_may_be_missing() {
        let mut resume = log(&[
            (RecordKey::invalid(0, None), None, true),
            (RecordKey::invalid(9, None), None, true),
        ]);
        assert!(resume.is_complete());
        resume.add(None, identity(1), 1, 1).unwrap();
        assert_eq!(resume.take_steps(), [ResumeStep::Skip(1)]);
        resume.finish().unwrap();
    }

    #[test]
    fn the_second_task_with_a_key_is_not_taken_for_the_first() {
        let mut resume = log(&[(RecordKey::invalid(1, Some("k")), None, true)]);
        resume.add(Some("k"), identity(1), 1, 1).unwrap();
        resume.add(Some("k"), identity(2), 2, 1).unwrap();
        assert_eq!(resume.take_steps(), [ResumeStep::Run(1), ResumeStep::Skip(1)]);
    }
}
