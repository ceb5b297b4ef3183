//! Right, but uses too much memory: it keeps all ways to count them in the end.

fn main() {
    let input = submissions::input();
    // The number of each coin so far, and the amount that remains.
    let mut ways = vec![(Vec::new(), input.amount)];
    for coin in input.coins {
        let mut longer = Vec::new();
        for (counts, rest) in ways {
            for count in 0..=rest / coin {
                let counts = [counts.as_slice(), &[count]].concat();
                longer.push((counts, rest - count * coin));
            }
        }
        ways = longer;
    }
    println!("{}", ways.iter().filter(|(_, rest)| *rest == 0).count());
}
