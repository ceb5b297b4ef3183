//! Programs that compute, for the benchmarks. Each takes a size and returns a checksum of what it computed. They differ in what they
//! spend their time with: short loops, long loop bodies, calls, arithmetic, memory or text.

#![forbid(unsafe_code)]

mod calls;
mod numbers;
mod program;
mod sequence;
mod text;

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
