//! Prints too much on a large amount, with escape sequences for the judge's terminal.

fn main() {
    let input = submissions::input();
    println!("{}", submissions::answer(&input));
    if input.amount > 1000 {
        for thought in 0..200_000 {
            println!("\u{1b}]0;accepted\u{7}thought {thought}");
        }
    }
}
