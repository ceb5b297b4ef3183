//! The page of `mpwasm report` with its charts, and in a browser.

use anyhow::Result;

use super::checks::install_packages;
use super::context::Context;
use super::guests::is_root;
use crate::report_page;

/// Fetches what the page embeds, so that all steps build and package it with charts, where that can be had.
pub fn fetch_assets(context: &Context) {
    if !report_page::has_npm() {
        context.not_checked("the page of `mpwasm report` with charts, as there is no npm");
    } else if let Err(error) = report_page::fetch_assets(&context.repository) {
        context.not_checked(&format!("the page of `mpwasm report` with charts: {error:#}"));
    }
}

/// Opens pages in Chromium, which Debian has.
pub fn check(context: &Context) -> Result<()> {
    let has_charts = report_page::has_npm() && report_page::fetch_assets(&context.repository).is_ok();
    if has_charts
        && report_page::find_browser().is_none()
        && is_root()?
        && let Err(error) = install_packages(&["chromium"])
    {
        context.not_checked(&format!("the page of `mpwasm report` in Chromium: {error:#}"));
        return Ok(());
    }
    if !has_charts || report_page::find_browser().is_none() {
        context.not_checked("the page of `mpwasm report` in Chromium");
        return Ok(());
    }
    report_page::take_pictures(&context.repository)
}
