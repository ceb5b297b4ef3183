//! Right, but too slow: it tries all ways one by one, which takes hours for a large amount.

fn ways(coins: &[usize], amount: usize) -> u64 {
    match coins {
        [] => u64::from(amount == 0),
        [coin, rest @ ..] => (0..=amount / coin)
            .map(|count| ways(rest, amount - count * coin))
            .sum(),
    }
}

fn main() {
    let input = submissions::input();
    println!("{}", ways(&input.coins, input.amount));
}
