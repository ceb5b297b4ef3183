//! Dicts, lists and namespaces: data of tasks that they share. No operation waits.

mod contents;
mod dict;
mod equality;
mod key;
mod list;
mod namespace;
mod number;
mod page_text;
mod requests;
mod sequence;
mod sort;
#[cfg(test)]
mod tests;

pub use dict::DictState;
pub use list::ListState;
pub use namespace::NamespaceState;
