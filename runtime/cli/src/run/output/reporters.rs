//! Builds the reporters of a run.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use mpwasm::internal::prints::Prints;
use mpwasm::{Builder, LogLevel};

use crate::run::end::halt::HaltReporter;
use crate::run::output::failure::{OutputFailures, OutputKind, OutputWriter};
use crate::run::output::order::OutputOrder;
use crate::run::output::order::reporter::OrderedReporter;
use crate::run::output::print_reporter::{PrintOptions, PrintReporter};
use crate::run::output::record_reporter::RecordReporter;
use crate::run::output::records::RecordWriter;
use crate::run::output::results_dir::ResultsDir;
use crate::run::output::tags::LineTagger;
use crate::run::output::task_folders::TaskFolders;
use crate::run::output::task_identity::TaskIdentity;
use crate::run::output::task_values::TaskValues;

/// What the feeder passes to the reporters.
#[derive(Clone, Default)]
pub struct ReporterHandles {
    /// Identities of tasks, if records have them.
    pub identities: Option<Arc<TaskValues<TaskIdentity>>>,
    /// Tags of tasks, if lines have them.
    pub tags: Option<Arc<TaskValues<Box<str>>>>,
    /// The order of reports, if it is kept.
    pub order: Option<OutputOrder>,
    /// Takes the writer of records when the run begins, if records are written.
    pub records: Option<Sender<RecordWriter>>,
    /// The folders of `--results-dir`.
    pub folders: Option<Arc<TaskFolders>>,
}

/// What the reporters of a run are built of.
pub struct ReporterParts {
    /// Writes guests' output.
    pub prints: Prints,
    /// The least important level of log lines that are not dropped.
    pub min_level: LogLevel,
    /// Whether records are written.
    pub has_records: bool,
    /// Whether a later run can resume from the records.
    pub is_log: bool,
    /// Whether lines have tags.
    pub has_tags: bool,
    /// The order of reports, if it is kept.
    pub order: Option<OutputOrder>,
    /// The folders of `--results-dir`.
    pub folders: Option<TaskFolders>,
    /// Ends the run early.
    pub halt: Option<HaltReporter>,
}

impl ReporterParts {
    /// Adds the reporters to a pool. Returns what the feeder passes to them.
    pub fn add_to(self, mut pool: Builder, failures: &Arc<OutputFailures>) -> (Builder, ReporterHandles) {
        let folders = self.folders.map(Arc::new);
        let identities = self.is_log.then(Arc::default);
        let tags = self.has_tags.then(Arc::default);

        if let Some(folders) = folders.clone() {
            let files = ResultsDir::new(folders);
            let files = OutputWriter::new(files, OutputKind::ResultsDir, Arc::clone(failures));
            pool = pool.reporter(files);
        }
        if let Some(halt) = self.halt {
            pool = pool.reporter(halt);
        }
        let options = PrintOptions {
            min_level: self.min_level,
            tags: tags.clone().map(LineTagger::new),
            has_records: self.has_records,
        };
        let prints = PrintReporter::new(self.prints, options, Arc::clone(failures));
        let records = self
            .has_records
            .then(|| RecordReporter::new(identities.clone(), Arc::clone(failures)));
        let (records, sender) = records.unzip();
        pool = match (self.order.clone(), records) {
            (Some(order), records) => {
                pool.reporter(OrderedReporter::new(order, prints, records, Arc::clone(failures)))
            }
            (None, Some(records)) => pool.reporter(prints).reporter(records),
            (None, None) => pool.reporter(prints),
        };
        let handles = ReporterHandles {
            identities,
            tags,
            order: self.order,
            records: sender,
            folders,
        };
        (pool, handles)
    }
}
