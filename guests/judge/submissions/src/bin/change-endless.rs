//! Never ends: its loop does not advance.

use std::hint::black_box;

fn main() {
    let input = submissions::input();
    let mut paid = 0;
    while paid <= input.amount {
        paid = black_box(paid);
    }
}
