//! The thread that loads guests and pushes tasks.

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use mpwasm::Pool;

use crate::process::exit::{ExitError, OrExit};
use crate::run::guests::{GuestArg, LoadedGuests};
use crate::run::input::dry_run::DryRunSink;
use crate::run::input::feed::{FeedEnd, TaskFeed};
use crate::run::input::pusher::{PendingResume, TaskPusher};
use crate::run::input::source::TaskSource;
use crate::run::output::reporters::ReporterHandles;
use crate::run::output::results::{EarlierResults, ResultsTarget};
use crate::run::resume::{ResumeCheck, SkippedTasks};
use crate::terminal::progress::ProgressCounter;
use crate::terminal::stdio::BlockingFile;

/// The state of the feeder thread.
pub struct Feeder {
    /// The pool.
    pub pool: Arc<Pool>,
    /// The guests to load.
    pub guests: Vec<GuestArg>,
    /// The source of tasks.
    pub source: TaskSource,
    /// The target of records.
    pub results: Option<ResultsTarget>,
    /// What it passes to the reporters.
    pub reporters: ReporterHandles,
    /// What to do with earlier results.
    pub earlier: EarlierResults,
    /// Whether to print the tasks instead of running them.
    pub dry_run: bool,
    /// The numbers of skipped tasks, set when the run begins.
    pub skipped: Arc<OnceLock<SkippedTasks>>,
    /// The counter of the progress bar.
    pub counter: ProgressCounter,
}

impl Feeder {
    /// Loads the guests and pushes the tasks, or prints them for a dry run.
    ///
    /// # Errors
    /// When a guest can't be loaded, the tasks or the results are wrong, or a file can't be read or written.
    pub fn feed(mut self) -> Result<FeedEnd, ExitError> {
        let Some(guests) = LoadedGuests::load(self.guests, &self.pool)? else {
            return Ok(FeedEnd::CutShort);
        };
        let feed = TaskFeed::prepare(&guests, self.source)?;
        feed.set_total(&self.counter);
        let resume = match &mut self.results {
            Some(ResultsTarget::Log(log)) => Some(ResumeCheck::new(log, &guests.log_numbers()).or_usage()?),
            _ => None,
        };
        if self.dry_run {
            let out = BlockingFile::stdout().or_internal()?;
            let sink = DryRunSink::new(out, guests.line_names());
            let resume = resume.map(|resume| PendingResume::new(resume, |_| Ok(())));
            return feed.push_to(
                &self.pool,
                &mut TaskPusher::new(&sink, guests.first_hash(), resume),
            );
        }
        let (results, folders, records) = (
            self.results,
            self.reporters.folders.take(),
            self.reporters.records.take(),
        );
        let begin = |skipped| {
            if let Some(folders) = folders {
                let begun = folders.begin(self.earlier);
                begun
                    .context("cannot use the folder of --results-dir")
                    .or_usage()?;
            }
            if let Some((results, records)) = results.zip(records) {
                // The pool keeps the receiver, and has not ended.
                let _ = records.send(results.begin()?);
            }
            let _ = self.skipped.set(skipped); // it begins once
            Ok(())
        };
        let resume = match resume {
            Some(resume) => Some(PendingResume::new(resume, begin)),
            None => begin(SkippedTasks::default()).map(|()| None)?,
        };
        let mut pusher =
            TaskPusher::new(&*self.pool, guests.first_hash(), resume).with_reporters(self.reporters);
        let end = feed.push_to(&self.pool, &mut pusher)?;
        self.counter.total(pusher.pushed());
        Ok(end)
    }
}
