//! Writes a report as a page: one HTML file that loads nothing.
//!
//! The page works without its script: each chart has a table that sums up its data. Text of others is escaped and isolated, and the page's
//! content security policy permits its own scripts and style only.

mod assets;
mod body;
mod charts;
mod data;
mod document;
mod failures;
mod lists;
mod markup;
mod page;
mod sink;
mod summary;
mod table;
mod task;

pub use document::write;
pub use page::ReportPage;
pub use sink::PageBuilder;

#[cfg(test)]
mod tests;
