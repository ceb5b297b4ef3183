//! Summarises the records of runs.
//!
//! [`LogReader`](log_reader::LogReader) reads record lines from any number of logs, and gives each record to a
//! [`RecordSink`](log_reader::RecordSink). [`Aggregator`](aggregator::Aggregator) is the sink that makes a
//! [`Report`](report::Report).
//!
//! Records are untrusted: guests choose keys and messages, and a log may have been cut off or may be no log at all. A line that
//! is no record is counted and named, and the others are used. Text of guests is not escaped in a [`Report`](report::Report).

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod aggregator;
mod failure_groups;
mod histogram;
pub mod html;
pub mod junit;
mod lines;
pub mod log_reader;
mod message_pattern;
mod periods;
pub mod record;
pub mod report;
pub mod task_table;
pub mod text;
mod throughput;
mod timeline;
mod top_list;
mod workers;

#[cfg(test)]
mod tests;
