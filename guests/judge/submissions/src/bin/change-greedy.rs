//! Right, but it keeps all ways in memory to count them in the end.

fn main() {
    let input = submissions::input();
    // How many of each coin so far, and what remains to be paid.
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
