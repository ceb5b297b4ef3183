//! Wrong: it counts the same coins in another order as another way.

fn main() {
    let input = submissions::input();
    let mut ways = vec![0_u64; input.amount + 1];
    ways[0] = 1;
    for amount in 1..=input.amount {
        for &coin in input.coins.iter().filter(|&&coin| coin <= amount) {
            ways[amount] = ways[amount].wrapping_add(ways[amount - coin]);
        }
    }
    println!("{}", ways[input.amount]);
}
