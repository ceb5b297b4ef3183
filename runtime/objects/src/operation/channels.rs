//! Operations of queues and pipes.

use serde_json::value::RawValue;

use super::args::{any, list, typed};
use crate::bounds::MAX_PAGE;
use crate::json::Json;

/// An operation on a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueOperation {
    /// `put`: waits for room.
    Put(Json),
    /// `put_many`: waits until all are in, or the timeout passes. Replies how many are.
    PutMany(Vec<Json>),
    /// `get`: waits for an item, and replies it.
    Get,
    /// `get_many`: waits for an item, and replies an array of what is there, at most this many.
    GetMany(u32),
    /// `qsize`: replies the number of items.
    Size,
    /// `empty`: replies a boolean.
    Empty,
    /// `full`: replies a boolean.
    Full,
    /// `close`: refuses all items from now on. Those in the queue can be taken.
    Close,
    /// `task_done`, of a joinable queue: ends the oldest leases of the caller, 1 by default.
    TaskDone(u32),
    /// `join`, of a joinable queue: waits until every item is done.
    Join,
}

/// An operation on an end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeOperation {
    /// `send`: waits for room.
    Send(Json),
    /// `recv`: waits for an item, and replies it.
    Receive,
    /// `poll`: waits for an item or the end. Replies whether one of them came before the timeout.
    Poll,
    /// `close`: closes this end.
    Close,
}

impl QueueOperation {
    /// Parses an operation that all queues have.
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("put", [item]) => Some(Self::Put(any(item))),
            ("put_many", [items]) => list(items).map(Self::PutMany),
            ("get", []) => Some(Self::Get),
            ("get_many", []) => Some(Self::GetMany(MAX_PAGE)),
            ("get_many", [max]) => typed::<u32>(max)
                .filter(|max| *max > 0)
                .map(|max| Self::GetMany(max.min(MAX_PAGE))),
            ("qsize", []) => Some(Self::Size),
            ("empty", []) => Some(Self::Empty),
            ("full", []) => Some(Self::Full),
            ("close", []) => Some(Self::Close),
            _ => None,
        }
    }

    /// Parses an operation that only joinable queues have.
    pub(super) fn parse_joinable(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("task_done", []) => Some(Self::TaskDone(1)),
            ("task_done", [count]) => typed(count).map(Self::TaskDone),
            ("join", []) => Some(Self::Join),
            _ => None,
        }
    }
}

impl PipeOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("send", [item]) => Some(Self::Send(any(item))),
            ("recv", []) => Some(Self::Receive),
            ("poll", []) => Some(Self::Poll),
            ("close", []) => Some(Self::Close),
            _ => None,
        }
    }
}
