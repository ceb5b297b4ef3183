//! Tests of the state machine as its clients see it.

mod account;
mod channels;
mod clients;
mod collections;
mod deadlocks;
mod random;
mod synchronization;
mod world;
