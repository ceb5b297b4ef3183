//! The style and the scripts of the page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The style of the page.
pub const STYLE: &str = include_str!("page.css");

/// What draws the charts of the page.
#[derive(Clone, Copy, Debug)]
pub struct Charts {
    /// The library.
    pub library: &'static str,
    /// Its style.
    pub style: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// The script of the page, which uses the library.
    pub script: &'static str,
}

/// The library for charts, if `cargo xtask report-assets` had fetched it before this crate was built.
#[cfg(has_charts)]
pub const CHARTS: Option<Charts> = Some(Charts {
    library: include_str!("../../assets/uplot/uPlot.iife.min.js"),
    style: include_str!("../../assets/uplot/uPlot.min.css"),
    licence: include_str!("../../assets/uplot/LICENSE"),
    script: include_str!("page.js"),
});

/// This crate was built without the library for charts.
#[cfg(not(has_charts))]
pub const CHARTS: Option<Charts> = None;

/// Returns the source of a content security policy that permits this code.
pub fn hash_source(code: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        // The example of the W3C's recommendation.
        assert_eq!(
            hash_source("alert('Hello, world.');"),
            "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
        );
    }
}
