//! Guests that allocate more memory than there is, or look for data of other guests in it.

use crate::corpus::{fails, returns};

corpus! {
    memory_for_ever => fails("memory", "the cap of 268435456 bytes");
    memory_of_four_gib => fails("memory", "the cap of 268435456 bytes");
    memory_to_its_own_maximum => fails("memory", "out of bounds memory access");
    fuel_in_bulk => fails("fuel", "the instruction budget").options(&["--fuel", "1000000"]);
    dirty_memory => returns("null");
}
