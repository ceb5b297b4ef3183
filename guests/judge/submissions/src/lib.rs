//! Code that the submissions share: reads the input and computes the right answer.

#![forbid(unsafe_code)]

use std::io;

/// An amount, and the coins to pay it with.
#[derive(Debug)]
pub struct Input {
    /// The amount to pay.
    pub amount: usize,
    /// The values of the coins, all different. The number of coins of each value is unlimited.
    pub coins: Vec<usize>,
}

/// Reads the input from stdin: a line with the amount, and one with the coins.
///
/// # Panics
/// When the input is missing or malformed.
#[must_use]
pub fn input() -> Input {
    let text = io::read_to_string(io::stdin()).expect("stdin is text");
    let mut numbers = text
        .split_whitespace()
        .map(|word| word.parse().expect("it is a number"));
    Input {
        amount: numbers.next().expect("there is an amount"),
        coins: numbers.collect(),
    }
}

/// Returns the right answer, from a table of the ways to pay each amount, coin after coin.
#[must_use]
pub fn answer(input: &Input) -> u64 {
    let mut ways = vec![0; input.amount + 1];
    ways[0] = 1;
    for &coin in &input.coins {
        for amount in coin..=input.amount {
            ways[amount] += ways[amount - coin];
        }
    }
    ways[input.amount]
}
