//! The guest ABI: the exports that a guest has, the imports that it may use, and what a call takes and returns.

pub(crate) mod call;
pub(crate) mod exports;
pub(crate) mod host;
pub(crate) mod json;
pub(crate) mod memory;
pub(crate) mod objects;
