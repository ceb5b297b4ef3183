//! Guests that print and log without end. Output beyond the cap is dropped and flagged, lines of others stay complete,
//! and the guest ends at its deadline.

use crate::corpus::{guest, timeout};

corpus! {
    flood_of_lines => timeout();
    flood_without_a_newline => timeout();
    flood_on_stderr => timeout();
    flood_of_nothing => timeout();
    flood_at_once => timeout();
    flood_of_empty_pieces => timeout();
    flood_of_log_lines => timeout();
}

/// At most 4 KiB of each of the two tasks are printed, and a note that says so.
#[test]
fn floods_are_cut_at_the_cap() {
    let flood = timeout().options(&["--max-output", "4KiB"]);
    let (ended, records) = flood.judge(&guest(include_str!("guests/flood_of_lines.wat")));
    for bad in [&records[3], &records[7]] {
        assert_eq!(bad.raw("output_truncated"), "true", "{bad}");
        assert!(bad.number("stdout_bytes") > 4 << 10, "{bad}");
    }
    assert!(ended.stdout.len() < 10_000, "{} bytes", ended.stdout.len());
}
