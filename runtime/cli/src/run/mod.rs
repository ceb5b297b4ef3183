//! `mpwasm run`: puts the pieces of a run together and waits for its end.
//!
//! The main thread only waits for events (the feeder is done, a signal, the pool has ended) and for the total
//! timeout, and does nothing that could wait for anybody else. Feeding the pool and waiting for it have a thread each.
//! When the pool has ended the run is over, wherever the feeder is. What a run's end means is in `ending.rs`.

pub mod end;
pub mod guests;
pub mod input;
pub mod output;
pub mod resume;
pub mod retry;
pub mod status;

use std::ffi::OsString;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use mpwasm::internal::prints::{Prints, Target, Targets};
use mpwasm::{Cache, DirGrant, LogLevel, Pool, Settings};

use crate::build;
use crate::command_line::{BuildOptions, RunArgs};
use crate::process::exit::{Exit, Failure, OrExit};
use crate::process::readers;
use crate::process::signals::{self, SignalRequest};
use crate::run::end::halt::{Halt, HaltMode};
use crate::run::end::{self as ending, FeedEnd, RunDeadline, RunEvent};
use crate::run::guests::{GuestArg, LoadedGuests};
use crate::run::input::feed::TaskFeed;
use crate::run::input::options::TaskSource;
use crate::run::input::pusher::{DryRunSink, PendingResume, TaskPusher};
use crate::run::output::log_file::is_descriptor;
use crate::run::output::options::{OutputOptions, SummaryFormat};
use crate::run::output::order::OutputOrder;
use crate::run::output::reporter::{HaltHook, OutputKind, ReporterOptions, RunReporter, SharedReporter};
use crate::run::output::results::{EarlierResults, ResultsTarget};
use crate::run::output::results_dir::ResultsDir;
use crate::run::output::tags::LineTagger;
use crate::run::output::task_metadata::TaskMetadata;
use crate::run::resume::{ResumeCheck, SkippedTasks};
use crate::terminal::progress::{self, ProgressCounter};
use crate::terminal::stdio::{self, BestEffort, Descriptor};
use crate::trusted_places::{self, TrustedPlace};

/// Runs it all, and says on stderr what there is to say but for a failure that it returns: then nothing ran.
///
/// The process should exit with the returned code whatever threads are left: the feeder may still wait for input.
pub fn run(args: RunArgs, least_log: LogLevel) -> Result<Exit, Failure> {
    let settings = Settings {
        confirm_outcomes: args.showing.halt.is_some(),
        ..args.settings()
    };
    let RunArgs {
        guests,
        building,
        inputs,
        showing,
        total_timeout,
        instances,
        like_options,
        ..
    } = args;
    if !like_options.is_empty() {
        stdio::print_message(&format!(
            "warning: all words after ::: are inputs, also {}: options stand before :::",
            like_options.join(" and ")
        ));
    }
    let cache = if instances.no_cache {
        None
    } else {
        Cache::of_user()
    };
    check_grants(&instances.dir, &guests, &building, &showing, cache.as_ref())?;
    let named = guests
        .iter()
        .map(|given| GuestArg::find(given, &building))
        .collect::<Result<Vec<_>, _>>()?;
    let earlier = showing.earlier();
    let results = showing
        .results
        .as_deref()
        .map(|path| ResultsTarget::open(path, earlier, settings.longest_record()))
        .transpose()?;
    let origin = inputs.open(&settings, results.as_ref())?;
    let folder = showing.results_dir.as_deref().map(ResultsDir::open).transpose();
    let folder = folder
        .context("cannot use the folder of --results-dir")
        .or_usage()?;
    let bar = showing
        .progress
        .wanted()
        .map_err(|why| Failure::usage(anyhow!(why)))?;

    let (events, inbox) = mpsc::channel();
    let running = Arc::<OnceLock<Weak<Pool>>>::default();
    signals::listen(on_signal(&running, &events))
        .context("cannot listen for signals")
        .or_internal()?;

    let started = Instant::now();
    let limit = total_timeout.map(|total| RunDeadline::new(started, total));
    let is_log = results.as_ref().is_some_and(ResultsTarget::is_log);
    let roll = (is_log || showing.tag).then(|| Arc::new(TaskMetadata::new(is_log, showing.tag)));
    let order = showing.keep_order.then(|| OutputOrder::new(settings.size));
    let counter = if bar {
        ProgressCounter::show()
    } else {
        ProgressCounter::default()
    };
    let wishes = ReporterOptions {
        folder,
        counter: counter.clone(),
        ..wishes(
            &showing,
            roll.as_ref(),
            order.as_ref(),
            halting(&running, &events),
        )
    };
    let reporter = SharedReporter::new(
        reporter(results.as_ref(), least_log, &events)
            .or_internal()?
            .with(wishes),
    );
    let watched = reporter.clone();
    outputs(results.as_ref())
        .and_then(|outputs| readers::watch(outputs, move |place| watched.reader_left(place)))
        .context("cannot watch the readers of the output")
        .or_internal()?;
    let mut builder = Pool::builder().settings(settings).reporter(reporter.clone());
    if let Some(cache) = cache {
        builder = builder.cache(cache);
    }
    let pool = Arc::new(builder.start().map_err(|error| match error {
        mpwasm::Error::BadSetting(_) | mpwasm::Error::Grant { .. } => Failure::usage(error),
        error => Failure::internal(anyhow!(error).context("cannot start the pool")),
    })?);

    running.get_or_init(|| Arc::downgrade(&pool));

    let waiter = Arc::clone(&pool);
    spawn("waiter", &events, move || RunEvent::PoolEnded(waiter.join())).or_internal()?;
    let feeder = Feeder {
        pool: Arc::clone(&pool),
        named,
        origin,
        results,
        roll,
        order,
        earlier,
        reporter: reporter.clone(),
        counter,
    };
    let dry_run = showing.dry_run;
    spawn("feeder", &events, move || {
        RunEvent::FeedEnded(feeder.feed(dry_run))
    })
    .or_internal()?;

    let end = ending::wait(&pool, &inbox, limit);
    let wall = started.elapsed();
    progress::clear();

    let mut reporter = reporter.lock();
    reporter.finish();
    if !end.all_pushed && end.feeder.is_none() {
        reporter.cut_short();
    }
    let broken = reporter.broken();
    let values = pool.final_values();
    let lost = values.iter().any(|value| value.result.is_err());
    let exit = end.exit(broken, reporter.tally().any_failure(), lost);
    if exit == Exit::Usage
        && let Some(failure) = end.feeder
    {
        return Err(failure);
    }
    for problem in end.problems(broken) {
        stdio::print_message(&problem);
    }
    match showing.summary {
        _ if dry_run => {}
        SummaryFormat::Text => {
            for line in reporter.tally().final_values(&values) {
                stdio::print_message(&line);
            }
            stdio::print_message(&reporter.tally().summary(wall));
        }
        SummaryFormat::Json => stdio::print_json(&reporter.tally().json(wall, &values)),
    }
    Ok(exit)
}

/// Refuses directories that tasks may change, where they could change what this run trusts.
fn check_grants(
    dirs: &[DirGrant],
    guests: &[OsString],
    building: &BuildOptions,
    showing: &OutputOptions,
    cache: Option<&Cache>,
) -> Result<(), Failure> {
    let records = showing.results.as_deref().filter(|path| is_path(path));
    let trusted = TrustedPlace::executables()
        .chain(cache.map(TrustedPlace::cache))
        .chain(records.map(TrustedPlace::records))
        .chain(showing.results_dir.as_deref().map(TrustedPlace::folders));
    trusted_places::check(dirs, trusted)?;
    if let Some(records) = records {
        trusted_places::check_links(dirs, records)?;
    }
    match building.no_build {
        true => Ok(()),
        false => guests::crates(guests).try_for_each(|krate| build::trusted_places::check(dirs, &krate)),
    }
}

/// Whether records go to what this path names, and not to what is open already.
fn is_path(results: &Path) -> bool {
    results != Path::new("-") && !is_descriptor(results)
}

/// Handles a signal. An event that cannot be sent is dropped: the run is over, and nothing is left to end.
fn on_signal(
    running: &Arc<OnceLock<Weak<Pool>>>,
    events: &Sender<RunEvent>,
) -> impl FnMut(SignalRequest) + Send + 'static {
    let (running, events) = (Arc::clone(running), events.clone());
    let pool = move || running.get().and_then(Weak::upgrade);
    move |wish| match wish {
        SignalRequest::End(signal) => drop(events.send(RunEvent::Signal(signal))),
        SignalRequest::Status => drop(events.send(RunEvent::StatusRequested)),
        SignalRequest::Stop => {
            drop(events.send(RunEvent::Stopping));
            pool().iter().for_each(|pool| pool.pause());
        }
        SignalRequest::Continue(stopped) => {
            pool().iter().for_each(|pool| pool.resume());
            drop(events.send(RunEvent::Continued(stopped)));
        }
    }
}

/// What the thread needs that brings tasks to the pool.
struct Feeder {
    pool: Arc<Pool>,
    named: Vec<GuestArg>,
    origin: TaskSource,
    results: Option<ResultsTarget>,
    roll: Option<Arc<TaskMetadata>>,
    order: Option<OutputOrder>,
    earlier: EarlierResults,
    reporter: SharedReporter,
    counter: ProgressCounter,
}

impl Feeder {
    /// Loads the guests and pushes the tasks, or only shows them.
    fn feed(mut self, dry_run: bool) -> Result<FeedEnd, Failure> {
        let Some(guests) = LoadedGuests::load(self.named, &self.pool)? else {
            return Ok(FeedEnd::CutShort);
        };
        let feed = TaskFeed::prepare(&guests, self.origin)?;
        feed.announce(&self.counter);
        let resume = match &mut self.results {
            Some(ResultsTarget::Log(log)) => Some(ResumeCheck::new(log, &guests.numbers()).or_usage()?),
            _ => None,
        };
        if dry_run {
            let out = Descriptor::stdout().or_internal()?;
            let shown = DryRunSink::new(out, guests.line_names());
            let fitting = resume.map(|resume| PendingResume::new(resume, |_| Ok(())));
            return feed.push_to(&self.pool, &mut TaskPusher::new(&shown, guests.first(), fitting));
        }
        let (results, earlier, reporter) = (self.results, self.earlier, self.reporter);
        let begin = |skipped| {
            if let Some(folder) = reporter.lock().folder() {
                let begun = folder.begin(earlier);
                begun
                    .context("cannot use the folder of --results-dir")
                    .or_usage()?;
            }
            let records = results.map(ResultsTarget::begin).transpose()?;
            reporter.lock().begin(records, skipped);
            Ok(())
        };
        let fitting = match resume {
            Some(resume) => Some(PendingResume::new(resume, begin)),
            None => begin(SkippedTasks::default()).map(|()| None)?,
        };
        let mut pusher = TaskPusher::new(&*self.pool, guests.first(), fitting).telling(self.roll, self.order);
        let fed = feed.push_to(&self.pool, &mut pusher)?;
        self.counter.total(pusher.pushed());
        Ok(fed)
    }
}

/// What the options ask of the reporter.
fn wishes(
    showing: &OutputOptions,
    roll: Option<&Arc<TaskMetadata>>,
    order: Option<&OutputOrder>,
    tell: impl FnOnce(Halt) + Send + 'static,
) -> ReporterOptions {
    ReporterOptions {
        order: order.cloned(),
        roll: roll.cloned(),
        tags: roll.filter(|_| showing.tag).cloned().map(LineTagger::new),
        halt: showing.halt.map(|halt| HaltHook {
            halt,
            tell: Box::new(tell),
        }),
        ..ReporterOptions::default()
    }
}

/// Ends this pool, once it is there, and reports that to main. The reporter calls it before it confirms the outcome that
/// decided, so no further task begins.
fn halting(
    pool: &Arc<OnceLock<Weak<Pool>>>,
    events: &Sender<RunEvent>,
) -> impl FnOnce(Halt) + Send + 'static {
    let (pool, events) = (Arc::clone(pool), events.clone());
    move |halt| {
        if let Some(pool) = pool.get().and_then(Weak::upgrade) {
            match halt.when {
                HaltMode::Now => pool.terminate(),
                HaltMode::Soon => pool.interrupt(),
            }
        }
        drop(events.send(RunEvent::Halted(halt))); // without a receiver the run is over already
    }
}

/// Starts a thread that ends with an event, whatever happens in it.
fn spawn(
    name: &str,
    events: &Sender<RunEvent>,
    work: impl FnOnce() -> RunEvent + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        let event = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(RunEvent::Panicked);
        drop(events.send(event)); // without a receiver the run is over already
    })?;
    Ok(())
}

/// What a reader could be waiting for.
fn outputs(results: Option<&ResultsTarget>) -> io::Result<Vec<(Descriptor, OutputKind)>> {
    let stdout = Descriptor::stdout()?;
    if matches!(results, Some(ResultsTarget::Stdout)) {
        return Ok(vec![(stdout, OutputKind::Records)]);
    }
    let mut outputs = vec![(stdout, OutputKind::Prints)];
    if let Some(file) = results.and_then(ResultsTarget::file) {
        outputs.push((file.try_clone()?.into(), OutputKind::Records));
    }
    Ok(outputs)
}

/// Decides what goes where: see DESIGN.md section 3.
fn reporter(
    results: Option<&ResultsTarget>,
    least_log: LogLevel,
    events: &Sender<RunEvent>,
) -> io::Result<RunReporter> {
    let (stdout, stderr) = (Descriptor::stdout()?, Descriptor::stderr()?);
    let (on_stdout, on_stderr) = (stdout.is_terminal(), stderr.is_terminal());
    let prints = if matches!(results, Some(ResultsTarget::Stdout)) {
        Targets::One(Target::new(Box::new(BestEffort(stderr.writer())), on_stderr))
    } else if stdout.is_same_as(&stderr) {
        Targets::One(Target::new(stdout.writer(), on_stdout))
    } else {
        Targets::Apart {
            stdout: Target::new(stdout.writer(), on_stdout),
            stderr: Target::new(Box::new(BestEffort(stderr.writer())), on_stderr),
        }
    };
    let events = events.clone();
    let on_broken = move || drop(events.send(RunEvent::OutputFailed));
    Ok(RunReporter::new(Prints::new(prints), least_log, on_broken))
}
