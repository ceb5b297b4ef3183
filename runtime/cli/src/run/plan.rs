//! Prepares a run before its pool is started: checks the options and opens the files.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mpwasm::{Cache, DirGrant, Settings};

use crate::build;
use crate::build::BuildOptions;
use crate::options::objects::ObjectOptions;
use crate::process::exit::{ExitError, OrExit};
use crate::run::guests::{GuestArg, crates};
use crate::run::input::source::TaskSource;
use crate::run::objects::RunObjects;
use crate::run::options::RunArgs;
use crate::run::output::options::OutputOptions;
use crate::run::output::results::ResultsTarget;
use crate::run::output::results_file::is_descriptor;
use crate::run::output::task_folders::TaskFolders;
use crate::terminal::stdio;
use crate::trusted_places::{self, TrustedPlace};

/// The checked options and opened files of a run.
pub struct Plan {
    /// Settings of the pool.
    pub settings: Settings,
    /// The cache of compiled guests, unless `--no-cache` is given.
    pub cache: Option<Cache>,
    /// The guests, which are built but not loaded.
    pub guests: Vec<GuestArg>,
    /// The source of tasks, opened.
    pub source: TaskSource,
    /// The target of `--results`, opened.
    pub results: Option<ResultsTarget>,
    /// The folders of `--results-dir`, opened.
    pub folders: Option<TaskFolders>,
    /// Whether to show a progress bar.
    pub shows_bar: bool,
    /// Options of the output.
    pub output: OutputOptions,
    /// The objects that the tasks share, created and filled.
    pub objects: Option<RunObjects>,
    /// The timeout of the whole run.
    pub total_timeout: Option<Duration>,
}

impl Plan {
    /// Checks the options, builds guests, opens files and starts the manager of objects. Existing results are not changed yet.
    ///
    /// # Errors
    /// Usage errors, and internal errors of the standard streams.
    pub fn new(args: RunArgs) -> Result<Self, ExitError> {
        let settings = Settings {
            confirm_outcomes: args.output.halt.is_some(),
            ..args.settings()
        };
        let RunArgs {
            guests,
            building,
            inputs,
            output,
            total_timeout,
            instances,
            objects,
            like_options,
            ..
        } = args;
        if !like_options.is_empty() {
            stdio::print_message(&format!(
                "warning: all words after ::: are inputs, also {}: options stand before :::",
                like_options.join(" and ")
            ));
        }
        let cache = Cache::of_user().filter(|_| !instances.no_cache);
        let places = written_places(&output, &objects).chain(cache.as_ref().map(TrustedPlace::cache));
        check_grants(&instances.dir, &guests, &building, places, records(&output))?;
        let guests = guests
            .iter()
            .map(|given| GuestArg::find(given, &building))
            .collect::<Result<Vec<_>, _>>()?;
        let results = output
            .results
            .as_deref()
            .map(|path| ResultsTarget::open(path, output.earlier(), settings.longest_record()))
            .transpose()?;
        let source = inputs.open(&settings, results.as_ref())?;
        let folders = output.results_dir.as_deref().map(TaskFolders::open).transpose();
        let folders = folders
            .context("cannot use the folder of --results-dir")
            .or_usage()?;
        let shows_bar = output
            .progress
            .wanted()
            .map_err(|why| ExitError::usage(anyhow!(why)))?;
        Ok(Self {
            objects: RunObjects::start(&objects, &settings, output.dry_run)?,
            settings,
            cache,
            guests,
            source,
            results,
            folders,
            shows_bar,
            output,
            total_timeout,
        })
    }
}

/// Refuses to grant write access to directories through which tasks could change what this run trusts: `places`, the executable,
/// the records and the crates that it builds.
fn check_grants(
    dirs: &[DirGrant],
    guests: &[OsString],
    building: &BuildOptions,
    places: impl Iterator<Item = TrustedPlace>,
    records: Option<&Path>,
) -> Result<(), ExitError> {
    trusted_places::check(dirs, TrustedPlace::executables().chain(places))?;
    if let Some(records) = records {
        trusted_places::check_links(dirs, records)?;
    }
    match building.no_build {
        true => Ok(()),
        false => crates(guests).try_for_each(|krate| build::trusted_places::check(dirs, &krate)),
    }
}

/// Returns the places that the run writes.
fn written_places(output: &OutputOptions, objects: &ObjectOptions) -> impl Iterator<Item = TrustedPlace> {
    let records = records(output).map(TrustedPlace::records);
    let folders = output.results_dir.as_deref().map(TrustedPlace::folders);
    let objects = objects.objects_out.as_deref().map(TrustedPlace::objects);
    [records, folders, objects].into_iter().flatten()
}

/// Returns the file of records, if they go to one.
fn records(output: &OutputOptions) -> Option<&Path> {
    output.results.as_deref().filter(|path| is_path(path))
}

/// Returns whether records go to a file of this path, rather than to an open descriptor.
fn is_path(results: &Path) -> bool {
    results != Path::new("-") && !is_descriptor(results)
}
