//! Right, with another algorithm: splits the coins into two halves and combines the ways of both.

fn ways(coins: &[usize], amount: usize) -> Vec<u64> {
    match coins {
        [] => (0..=amount).map(|amount| u64::from(amount == 0)).collect(),
        [coin] => (0..=amount).map(|amount| u64::from(amount % coin == 0)).collect(),
        _ => {
            let (left, right) = coins.split_at(coins.len() / 2);
            let (left, right) = (ways(left, amount), ways(right, amount));
            let both = |amount: usize| (0..=amount).map(|part| left[part] * right[amount - part]).sum();
            (0..=amount).map(both).collect()
        }
    }
}

fn main() {
    let input = submissions::input();
    println!("{}", ways(&input.coins, input.amount)[input.amount]);
}
