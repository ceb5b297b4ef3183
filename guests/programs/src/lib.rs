//! Programs that compute, for the benchmarks. Each takes a size and returns a checksum of what it computed. They differ in what they
//! spend their time with: short loops, long loop bodies, calls, arithmetic, memory or text.

#![forbid(unsafe_code)]

mod calls;
mod numbers;
mod text;

/// Defines a model that computes a checksum from a size.
macro_rules! program {
    ($(#[$doc:meta])* $name:ident: |$size:ident| $body:block) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name;

        impl mpwasm_guest::Model for $name {
            type Args = (u32,);
            type Output = u64;

            fn runnable(($size,): (u32,)) -> Result<u64, mpwasm_guest::Error> {
                Ok($body)
            }
        }
    };
}
use program;

/// Returns the next number of a xorshift sequence.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

mpwasm_guest::export! {
    "matrix" => numbers::Matrix: runnable,
    "sieve" => numbers::Sieve: runnable,
    "mandelbrot" => numbers::Mandelbrot: runnable,
    "bodies" => numbers::Bodies: runnable,
    "hash" => numbers::Hash: runnable,
    "fibonacci" => calls::Fibonacci: runnable,
    "sort" => calls::Sort: runnable,
    "json" => text::Json: runnable,
    "match" => text::Match: runnable,
}
