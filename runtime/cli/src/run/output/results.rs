//! The target of `--results`: stdout, a stream, a new file, or the log of an earlier run.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use crate::process::exit::{ExitError, OrExit};
use crate::run::output::job_log::JobLog;
use crate::run::output::records::RecordWriter;
use crate::run::output::results_file::{OpenFor, OpenedResults, ResultsFile, lock, open_results};
use crate::terminal::stdio::{BlockingFile, NOT_OPEN};
use mpwasm::escape::Untrusted;

/// What a run does with the results of an earlier run in the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlierResults {
    /// Refuses to run.
    #[default]
    Refuse,
    /// Replaces them.
    Overwrite,
    /// Skips tasks that have a record.
    Resume,
    /// Skips tasks that have a record of success.
    RetryFailed,
}

/// The target of records.
pub enum ResultsTarget {
    /// Stdout.
    Stdout,
    /// A pipe, a terminal or another stream.
    Stream(File),
    /// A file that is empty, or is overwritten.
    File(ResultsFile, EarlierResults),
    /// The log of an earlier run.
    Log(JobLog),
}

impl ResultsTarget {
    /// Opens the target, without changing it until [`begin`](Self::begin). Records of a log have at most `longest` bytes.
    ///
    /// # Errors
    /// Usage errors, and an internal error if stdout is closed.
    pub fn open(path: &Path, earlier: EarlierResults, longest: u64) -> Result<Self, ExitError> {
        let resumes = matches!(earlier, EarlierResults::Resume | EarlierResults::RetryFailed);
        if path == Path::new("-") {
            return match resumes {
                false => match BlockingFile::stdout().or_internal()?.is_writable() {
                    true => Ok(Self::Stdout),
                    false => Err(ExitError::internal(anyhow!(
                        "cannot write records to stdout: {NOT_OPEN}"
                    ))),
                },
                true => Err(ExitError::usage(anyhow!(
                    "there is no log on stdout to resume: name a file with --results"
                ))),
            };
        }
        if resumes {
            return JobLog::open(path, earlier == EarlierResults::RetryFailed, longest)
                .map(Self::Log)
                .with_context(|| format!("cannot resume the log {}", Untrusted::from(&path)))
                .or_usage();
        }
        let open = || -> anyhow::Result<Self> {
            let file = match open_results(path, OpenFor::Write)? {
                OpenedResults::Stream(file) => return Ok(Self::Stream(file)),
                OpenedResults::File(file) => file,
            };
            lock(file.file())?;
            Ok(Self::File(file, earlier))
        };
        open()
            .with_context(|| format!("cannot write results to {}", Untrusted::from(&path)))
            .or_usage()
    }

    /// Returns whether the records go to a file, which a later run can resume.
    pub fn is_log(&self) -> bool {
        self.file()
            .is_some_and(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))
    }

    /// Returns whether the records go to this regular file.
    pub fn is_same_as(&self, other: &Metadata) -> bool {
        let metadata = self.file().and_then(|file| file.metadata().ok());
        metadata.is_some_and(|ours| ours.is_file() && (ours.dev(), ours.ino()) == (other.dev(), other.ino()))
    }

    /// Returns the file or stream, unless it is stdout.
    pub fn file(&self) -> Option<&File> {
        match self {
            Self::Stdout => None,
            Self::Stream(file) => Some(file),
            Self::File(file, _) => Some(file.file()),
            Self::Log(log) => Some(log.file()),
        }
    }

    /// Begins the records of a run and returns their writer. Removes records of an earlier run that will be replaced.
    ///
    /// # Errors
    /// When the file has records that must not be replaced, or can't be written.
    pub fn begin(self) -> Result<RecordWriter, ExitError> {
        let file = match self {
            Self::Stdout => {
                let stdout = BlockingFile::stdout().or_internal()?;
                let terminal = stdout.is_terminal();
                return Ok(RecordWriter::new(stdout.writer(), terminal));
            }
            Self::Stream(file) => file,
            Self::File(file, earlier) => empty(file, earlier)?,
            Self::Log(log) => log.begin().or_usage()?,
        };
        let file = BlockingFile::from(file);
        let terminal = file.is_terminal();
        Ok(RecordWriter::new(file.writer(), terminal))
    }
}

/// Empties a file for the records of a run that does not resume another.
fn empty(log: ResultsFile, earlier: EarlierResults) -> Result<File, ExitError> {
    let path = Untrusted::from(log.path()).to_string();
    let file = log.into_file();
    let empty = || -> anyhow::Result<()> {
        if earlier != EarlierResults::Overwrite && file.metadata()?.len() > 0 {
            bail!(
                "the file of --results, {path}, is not empty: continue its run with --resume or --retry-failed, replace its \
                 records with --overwrite, or name another file"
            );
        }
        Ok(file.set_len(0)?)
    };
    empty().or_usage()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process::exit::Exit;

    fn refusal(path: &Path, earlier: EarlierResults) -> String {
        let begun = ResultsTarget::open(path, earlier, 0).and_then(ResultsTarget::begin);
        match begun.map(drop) {
            Ok(()) => panic!("it began"),
            Err(failure) => {
                assert_eq!(failure.exit, Exit::Usage);
                format!("{:#}", failure.error)
            }
        }
    }

    #[test]
    fn an_earlier_runs_results_stay_until_a_run_begins_that_may_overwrite_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        fs::write(&path, "old").unwrap();
        let results = ResultsTarget::open(&path, EarlierResults::Overwrite, 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(results);
        assert!(refusal(&path, EarlierResults::Refuse).contains("--overwrite"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let results = ResultsTarget::open(&path, EarlierResults::Overwrite, 0).unwrap();
        results.begin().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        ResultsTarget::open(&path, EarlierResults::Refuse, 0)
            .unwrap()
            .begin()
            .unwrap();
        let none = dir.path().join("none/results");
        assert!(ResultsTarget::open(&none, EarlierResults::Refuse, 0).is_err_and(|f| f.exit == Exit::Usage));
    }

    #[test]
    fn results_to_what_is_no_regular_file_are_not_emptied() {
        let null = Path::new("/dev/null");
        ResultsTarget::open(null, EarlierResults::Refuse, 0)
            .unwrap()
            .begin()
            .unwrap();
        assert!(
            !ResultsTarget::open(null, EarlierResults::Overwrite, 0)
                .unwrap()
                .is_log()
        );
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let records = ResultsTarget::open(&path, EarlierResults::Refuse, 0)
            .unwrap()
            .begin()
            .unwrap();
        assert!(refusal(&path, EarlierResults::Refuse).contains("another run"));
        drop(records);
        ResultsTarget::open(&path, EarlierResults::Refuse, 0).unwrap();
    }
}
