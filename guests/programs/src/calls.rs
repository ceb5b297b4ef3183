//! Calls of functions.

use crate::program::program;
use crate::sequence::next;

fn fibonacci(n: u32) -> u64 {
    match n {
        0 | 1 => u64::from(n),
        _ => fibonacci(n - 1) + fibonacci(n - 2),
    }
}

program! {
    /// Computes the Fibonacci number with this index by recursion.
    Fibonacci: |size| { fibonacci(size) }
}

program! {
    /// Sorts this many numbers.
    Sort: |size| {
        let mut state = 88_172_645_463_325_252;
        let mut numbers: Vec<u64> = (0..size).map(|_| next(&mut state)).collect();
        numbers.sort();
        numbers[size as usize / 2] & 0xffff
    }
}
