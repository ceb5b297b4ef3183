//! `mpwasm run`: puts the pieces of a run together and waits for its end.
//!
//! The main thread only waits for events (the feeder is done, a signal, the pool has ended) and for the total
//! timeout, and does nothing that could wait for anybody else. Feeding the pool and waiting for it have a thread each.
//! When the pool has ended the run is over, wherever the feeder is. What a run's end means is in `ending.rs`.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use mpwasm::prints::{Prints, Target, Targets};
use mpwasm::{Cache, LogLevel, Pool, Settings};
use serde_json::value::to_raw_value;

use super::ending::{self, Event, Limit};
use super::exit::{Exit, Failure, OrExit};
use super::feed::{self, Feed, Origin};
use super::lines::Lines;
use super::options::{self, RunArgs};
use super::readers;
use super::records::Records;
use super::reporter::{Place, RunReporter, SharedReporter};
use super::signals;
use super::stdio::{self, Descriptor, Lenient};

/// Runs it all, and says on stderr what there is to say but for a failure that it returns: then nothing ran.
///
/// The process should exit with the returned code whatever threads are left: the feeder may still wait for input.
pub fn run(args: RunArgs, least_log: LogLevel) -> Result<Exit, Failure> {
    let settings = args.settings();
    let (guest, model) = options::split_model(&args.guest).or_usage()?;
    let results = args.results.as_deref().map(Results::open).transpose()?;
    let module = args.building.module(&guest)?;
    let total = args.total_timeout;
    let cache = if args.no_cache { None } else { Cache::of_user() };
    let origin = origin(args, &settings, results.as_ref())?;

    let (events, inbox) = mpsc::channel();
    let on_signal = events.clone();
    // Nobody listens any more when the run is over: then a signal has nothing left to end.
    signals::listen(move |signal| drop(on_signal.send(Event::Signal(signal))))
        .context("cannot listen for signals")
        .or_internal()?;

    let started = Instant::now();
    let limit = total.map(|total| Limit::new(started, total));
    let broken = events.clone();
    let on_broken = move || drop(broken.send(Event::Broken));
    let reporter = SharedReporter::new(reporter(results.as_ref(), least_log, on_broken).or_internal()?);
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
        mpwasm::Error::BadSetting(_) => Failure::usage(error),
        error => Failure::internal(anyhow!(error).context("cannot start the pool")),
    })?);

    let waiter = Arc::clone(&pool);
    spawn("waiter", &events, move || Event::Ended(waiter.join())).or_internal()?;
    let feeder = Arc::clone(&pool);
    let feed = move || {
        let guest = match feeder.load(&module) {
            Ok(guest) => guest,
            Err(error) if feed::has_ended(&error) => return Ok(()),
            Err(error) => return Err(Failure::of_guest(error)),
        };
        let feed = Feed::prepare(guest, model, origin)?;
        results.map_or(Ok(()), |results| results.begin())?;
        feed.push_to(&feeder)
    };
    spawn("feeder", &events, move || Event::Fed(feed())).or_internal()?;

    let end = ending::wait(&pool, &inbox, limit);
    let wall = started.elapsed();

    let mut reporter = reporter.lock();
    reporter.finish();
    let broken = reporter.broken();
    let exit = end.exit(broken, reporter.tally().any_failure());
    if exit == Exit::Usage
        && let Some(failure) = end.feeder
    {
        return Err(failure);
    }
    for problem in end.problems(broken) {
        stdio::say(&problem);
    }
    stdio::say(&reporter.tally().summary(wall));
    Ok(exit)
}

/// Starts a thread that ends with an event, whatever happens in it.
fn spawn(
    name: &str,
    events: &Sender<Event>,
    work: impl FnOnce() -> Event + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        let event = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Event::Panicked);
        drop(events.send(event)); // without a receiver the run is over already
    })?;
    Ok(())
}

/// Opens the place where tasks come from.
fn origin(args: RunArgs, settings: &Settings, results: Option<&Results>) -> Result<Origin, Failure> {
    if let Some(path) = args.tasks {
        let (input, name) = if path == Path::new("-") {
            (Descriptor::stdin().or_internal()?, "standard input".to_owned())
        } else {
            (open_tasks(&path, results).or_usage()?, path.display().to_string())
        };
        let lines = Lines::new(input, settings.max_args);
        return Ok(Origin::Lines { lines, name });
    }
    if !args.args.is_empty() {
        return Ok(Origin::Args(args.args.into_iter().map(|args| args.0).collect()));
    }
    if !args.words.is_empty() {
        return Ok(Origin::Args(vec![to_raw_value(&args.words).or_internal()?]));
    }
    Ok(Origin::Guest)
}

fn open_tasks(path: &Path, results: Option<&Results>) -> anyhow::Result<Descriptor> {
    let read = || -> io::Result<(File, Metadata)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata))
    };
    let (file, tasks) = read().with_context(|| format!("cannot read tasks from {}", path.display()))?;
    if let Some(Results::File(results)) = results {
        let results = results.metadata()?;
        if results.is_file() && (results.dev(), results.ino()) == (tasks.dev(), tasks.ino()) {
            return Err(anyhow!(
                "--tasks and --results name the same file, which would be written anew"
            ));
        }
    }
    Ok(file.into())
}

/// Where `--results` go.
enum Results {
    Stdout,
    File(File),
}

impl Results {
    /// Opens the place, but leaves what is there until [`begin`](Self::begin).
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        file.map(Self::File)
            .with_context(|| format!("cannot write results to {}", path.display()))
            .or_usage()
    }

    /// A run with a good guest begins: an earlier run's records go.
    fn begin(&self) -> Result<(), Failure> {
        let empty = |file: &File| match file.metadata()?.is_file() {
            true => file.set_len(0),
            false => Ok(()),
        };
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => empty(file).context("cannot empty the results file").or_usage(),
        }
    }
}

/// What a reader could be waiting for.
fn outputs(results: Option<&Results>) -> io::Result<Vec<(Descriptor, Place)>> {
    let stdout = Descriptor::stdout()?;
    Ok(match results {
        Some(Results::Stdout) => vec![(stdout, Place::Records)],
        Some(Results::File(file)) => vec![
            (stdout, Place::Prints),
            (file.try_clone()?.into(), Place::Records),
        ],
        None => vec![(stdout, Place::Prints)],
    })
}

/// Decides what goes where: see DESIGN.md section 3.
fn reporter(
    results: Option<&Results>,
    least_log: LogLevel,
    on_broken: impl FnMut() + Send + 'static,
) -> io::Result<RunReporter> {
    let (stdout, stderr) = (Descriptor::stdout()?, Descriptor::stderr()?);
    let (on_stdout, on_stderr) = (stdout.is_terminal(), stderr.is_terminal());
    let file = match results {
        Some(Results::Stdout) => {
            let prints = Targets::One(Target::new(Box::new(Lenient(stderr)), on_stderr));
            let records = Records::new(Box::new(stdout), on_stdout);
            return Ok(RunReporter::new(
                Prints::new(prints),
                Some(records),
                least_log,
                on_broken,
            ));
        }
        Some(Results::File(file)) => Some(file),
        None => None,
    };
    let prints = if stdout.is_same_as(&stderr) {
        Targets::One(Target::new(Box::new(stdout), on_stdout))
    } else {
        Targets::Apart {
            stdout: Target::new(Box::new(stdout), on_stdout),
            stderr: Target::new(Box::new(Lenient(stderr)), on_stderr),
        }
    };
    let records = |file: &File| -> io::Result<Records> {
        let writer = Descriptor::from(file.try_clone()?);
        Ok(Records::new(Box::new(writer), file.is_terminal()))
    };
    let records = file.map(records).transpose()?;
    Ok(RunReporter::new(
        Prints::new(prints),
        records,
        least_log,
        on_broken,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_earlier_runs_results_stay_until_a_run_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        fs::write(&path, "old").unwrap();
        let results = Results::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        results.begin().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert!(Results::open(&dir.path().join("none/results")).is_err_and(|f| f.exit == Exit::Usage));
    }

    #[test]
    fn results_to_what_is_no_regular_file_are_not_emptied() {
        Results::open(Path::new("/dev/null")).unwrap().begin().unwrap();
    }

    #[test]
    fn tasks_come_from_a_file_that_is_neither_missing_nor_a_directory_nor_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let why = |path: &Path, results| open_tasks(path, results).map(drop).unwrap_err();
        assert!(why(&path, None).to_string().contains("cannot read tasks"));
        assert!(why(dir.path(), None).to_string().contains("cannot read tasks"));
        let results = Results::open(&path).unwrap();
        assert!(why(&path, Some(&results)).to_string().contains("the same file"));
        assert!(open_tasks(&path, None).is_ok());
    }
}
