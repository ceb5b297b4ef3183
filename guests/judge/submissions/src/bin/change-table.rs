//! Right and fast.

fn main() {
    println!("{}", submissions::answer(&submissions::input()));
}
