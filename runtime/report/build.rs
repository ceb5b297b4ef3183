//! Says whether the library for charts is there, which `cargo xtask report-assets` fetches.

use std::path::Path;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(has_charts)");
    println!("cargo:rerun-if-changed=build.rs");
    // The folder is always there. It changes when the library comes or goes.
    println!("cargo:rerun-if-changed=assets");
    if Path::new("assets/uplot/uPlot.iife.min.js").exists() {
        println!("cargo:rustc-cfg=has_charts");
    }
}
