//! What a run writes: records, guests' prints, failure lines and the summary.
//!
//! The pool calls [`reporter`], which passes each report on to the other files of this folder.

pub mod failure;
pub mod failure_line;
pub mod job_log;
pub mod log_file;
pub mod options;
pub mod order;
pub mod records;
pub mod reporter;
pub mod results;
pub mod results_dir;
pub mod shared_reporter;
pub mod summary;
pub mod tags;
pub mod task_identity;
pub mod task_metadata;
