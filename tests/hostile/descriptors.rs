//! Guests that look for files, sockets, processes and an environment. Nothing is granted, so every call is refused with
//! an error number, or traps if it makes no sense. The guest finds only its own streams.
//!
//! Each guest returns failure if anything worked that must not.

use crate::corpus::{returns, trap};

corpus! {
    no_preopens => returns("null");
    paths_to_everywhere => returns("null");
    paths_that_change_things => returns("null");
    streams_are_no_files => returns("null");
    streams_that_are_closed => returns("null");
    streams_that_are_renumbered => returns("null");
    sockets => returns("null");
    environment => returns("null");
    clocks_that_do_not_exist => returns("null");
    flags_that_do_not_exist => trap("out of range");
    signals => returns("null");
}
