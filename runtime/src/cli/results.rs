//! Where `--results` go: stdout, a file that is written anew, or the log of an earlier run that goes on.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::exit::{Failure, OrExit};
use super::job_log::JobLog;
use super::records::Records;
use super::stdio::{Descriptor, NOT_OPEN};

/// How a run goes on where an earlier one was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continue {
    /// What has a record is skipped.
    Resume,
    /// What has a record is skipped, but for what failed.
    RetryFailed,
}

/// Where records go.
pub enum Results {
    /// To stdout.
    Stdout,
    /// To a file, in place of what is there.
    File(File),
    /// To the log of an earlier run.
    Log(JobLog),
}

impl Results {
    /// Opens the place, but leaves what is there until [`begin`](Self::begin). Failures are wrong usage, but for a closed stdout.
    pub fn open(path: &Path, how: Option<Continue>) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return match how {
                None => match Descriptor::stdout().or_internal()?.is_writable() {
                    true => Ok(Self::Stdout),
                    false => Err(Failure::internal(anyhow!(
                        "cannot write records to stdout: {NOT_OPEN}"
                    ))),
                },
                Some(_) => Err(Failure::usage(anyhow!(
                    "there is no log on stdout to go on with: name a file with --results"
                ))),
            };
        }
        if let Some(how) = how {
            return JobLog::open(path, how == Continue::RetryFailed)
                .map(Self::Log)
                .with_context(|| format!("cannot go on with the log {}", path.display()))
                .or_usage();
        }
        let open = || -> anyhow::Result<File> {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            if file.metadata()?.is_file() {
                lock(&file)?;
            }
            Ok(file)
        };
        open()
            .map(Self::File)
            .with_context(|| format!("cannot write results to {}", path.display()))
            .or_usage()
    }

    /// Whether the records are in a file that a later run can go on with.
    pub fn is_log(&self) -> bool {
        self.file()
            .is_some_and(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))
    }

    /// Whether they go into this regular file.
    pub fn is_same_as(&self, other: &Metadata) -> bool {
        let metadata = self.file().and_then(|file| file.metadata().ok());
        metadata.is_some_and(|ours| ours.is_file() && (ours.dev(), ours.ino()) == (other.dev(), other.ino()))
    }

    /// The file, where they go to one.
    pub fn file(&self) -> Option<&File> {
        match self {
            Self::Stdout => None,
            Self::File(file) => Some(file),
            Self::Log(log) => Some(log.file()),
        }
    }

    /// A run begins that fits: an earlier run's records go, as far as they are to. Returns who writes the new ones.
    pub fn begin(self) -> Result<Records, Failure> {
        let file = match self {
            Self::Stdout => {
                let stdout = Descriptor::stdout().or_internal()?;
                let terminal = stdout.is_terminal();
                return Ok(Records::new(stdout.writer(), terminal));
            }
            Self::File(file) => {
                let empty = || match file.metadata()?.is_file() {
                    true => file.set_len(0),
                    false => Ok(()),
                };
                empty().context("cannot empty the results file").or_usage()?;
                file
            }
            Self::Log(log) => log.begin().or_usage()?,
        };
        let file = Descriptor::from(file);
        let terminal = file.is_terminal();
        Ok(Records::new(file.writer(), terminal))
    }
}

/// Keeps other runs off a file of records, until it is closed.
///
/// # Errors
/// When another run has it. That a file system has no locks is none.
pub fn lock(file: &File) -> anyhow::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => bail!("another run is writing it"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::exit::Exit;
    use super::*;

    #[test]
    fn an_earlier_runs_results_stay_until_a_run_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        fs::write(&path, "old").unwrap();
        let results = Results::open(&path, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        results.begin().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let none = dir.path().join("none/results");
        assert!(Results::open(&none, None).is_err_and(|f| f.exit == Exit::Usage));
    }

    #[test]
    fn results_to_what_is_no_regular_file_are_not_emptied() {
        let null = Path::new("/dev/null");
        Results::open(null, None).unwrap().begin().unwrap();
        assert!(!Results::open(null, None).unwrap().is_log());
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let records = Results::open(&path, None).unwrap().begin().unwrap();
        assert!(Results::open(&path, None).is_err_and(|f| format!("{:#}", f.error).contains("another run")));
        drop(records);
        Results::open(&path, None).unwrap();
    }
}
