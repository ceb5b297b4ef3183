//! Tests of the state machine as its clients see it.

mod channels;
mod clients;
mod collections;
mod deadlocks;
mod synchronization;
mod world;
