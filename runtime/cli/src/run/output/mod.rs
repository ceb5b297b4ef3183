//! What a run writes: records, guests' prints, failure lines and the summary.
//!
//! The pool calls one [`Reporter`](mpwasm::Reporter) per subject: [`print_reporter`], [`record_reporter`], [`results_dir`] and
//! [`halt`](crate::run::end::halt). With `--keep-order`, [`order::reporter`] passes events on to the first two. [`reporters`] builds
//! them.

pub mod failure;
pub mod failure_line;
pub mod job_log;
pub mod options;
pub mod order;
pub mod print_reporter;
pub mod record_reporter;
pub mod records;
pub mod reporters;
pub mod results;
pub mod results_dir;
pub mod results_file;
pub mod summary;
pub mod tags;
pub mod task_folders;
pub mod task_identity;
pub mod task_values;

#[cfg(test)]
pub mod tests;
