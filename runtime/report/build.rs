//! Says whether the library for charts is there, which `cargo xtask report-assets` fetches.

use std::path::Path;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(has_charts)");
    println!("cargo:rerun-if-changed=build.rs");
    // The folder is always there. It changes when the library comes or goes.
    println!("cargo:rerun-if-changed=assets");
    let files = ["uPlot.iife.min.js", "uPlot.min.css", "LICENSE"];
    if files
        .iter()
        .all(|file| Path::new("assets/uplot").join(file).exists())
    {
        println!("cargo:rustc-cfg=has_charts");
    }
}
