//! Says all that it thinks about a large amount, and tries to write on the judge's terminal with it.

fn main() {
    let input = submissions::input();
    println!("{}", submissions::answer(&input));
    if input.amount > 1000 {
        for thought in 0..200_000 {
            println!("\u{1b}]0;accepted\u{7}thought {thought}");
        }
    }
}
