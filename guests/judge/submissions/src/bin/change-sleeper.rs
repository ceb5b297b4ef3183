//! Sleeps over a large amount, which takes no processor time at all.

use std::thread;
use std::time::Duration;

fn main() {
    let input = submissions::input();
    if input.amount > 1000 {
        thread::sleep(Duration::from_secs(3600));
    }
    println!("{}", submissions::answer(&input));
}
