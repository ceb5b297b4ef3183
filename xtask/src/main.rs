//! Tasks of this repository that are not part of the product, each a subcommand of `cargo xtask`.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")
)]

mod ci;
mod command;
mod guests;
mod report_page;
mod repository;
mod structure;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use command::{Run as _, cargo};
use repository::Repository;

/// Tasks of this repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Runs the checks that a change has to pass, one after the other, up to the first that fails.
    Ci(ci::Options),
    /// Measures the pool: `cargo bench --bench pool`.
    Bench {
        /// Arguments of the benchmark, such as `--rounds 1`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Builds the guests of this repository into target/guests: those in Rust, and those in C and Zig whose compilers are there.
    Guests,
    /// Generates the reference of the command line, docs/reference/cli.md, from its definitions.
    Docs,
    /// Fetches the library for the charts of `mpwasm report --format html` with npm. The next build of mpwasm embeds it.
    ReportAssets,
    /// Takes pictures of pages of `mpwasm report` in Chromium, into target/report-page, and checks the pages.
    ReportPictures,
}

fn main() -> ExitCode {
    let task = Task::parse();
    let result = Repository::find().and_then(|repository| match task {
        Task::Ci(options) => ci::run(repository, &options),
        Task::Bench { args } => cargo(&["bench", "--bench", "pool", "--"])
            .args(args)
            .current_dir(&repository.root)
            .run(),
        Task::Guests => guests::build(&repository),
        Task::Docs => cargo(&["test", "--release", "-p", "mpwasm-cli", "--lib", "reference"])
            .env("MPWASM_UPDATE_REFERENCE", "1")
            .current_dir(&repository.root)
            .run(),
        Task::ReportAssets => report_page::fetch_assets(&repository),
        Task::ReportPictures => report_page::take_pictures(&repository),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
