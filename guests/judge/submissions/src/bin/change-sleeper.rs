//! Sleeps on a large amount, which takes no CPU time.

use std::thread;
use std::time::Duration;

fn main() {
    let input = submissions::input();
    if input.amount > 1000 {
        thread::sleep(Duration::from_secs(3600));
    }
    println!("{}", submissions::answer(&input));
}
