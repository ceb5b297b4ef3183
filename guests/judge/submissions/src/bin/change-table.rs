//! Right, and swift.

fn main() {
    println!("{}", submissions::answer(&submissions::input()));
}
