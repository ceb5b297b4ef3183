//! Panics when the amount is 0: it begins with the smallest coin that fits.

fn main() {
    let mut input = submissions::input();
    input.coins.retain(|&coin| coin <= input.amount);
    let smallest = *input.coins.iter().min().expect("a coin fits");
    input.coins.sort_unstable_by_key(|&coin| (coin != smallest, coin));
    println!("{}", submissions::answer(&input));
}
