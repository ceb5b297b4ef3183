//! Right, with blanks up to just below the output limit.

fn main() {
    let answer = submissions::answer(&submissions::input());
    println!("{}{answer}", " ".repeat(1_000_000));
}
