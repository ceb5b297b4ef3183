//! The page of `mpwasm report`: the library for its charts, and its check in a browser.

mod records;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{Run as _, cargo, command};
use crate::repository::Repository;

/// The folder with what npm is to fetch for the page, and where its files go.
const ASSETS: &str = "runtime/report/assets";

/// The folder with the check, and with what npm is to fetch for it.
const CHECK: &str = "xtask/report-page";

/// The files of the library that mpwasm embeds.
const UPLOT: [&str; 3] = ["dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"];

/// Names of the browser, of which the first that can be started is used.
const BROWSERS: [&str; 2] = ["chromium", "chromium-browser"];

/// Fetches the library for charts, unless it is there in the version of the lock file. npm checks that it is what the lock file says.
pub fn fetch_assets(repository: &Repository) -> Result<()> {
    let assets = repository.root.join(ASSETS);
    let library = assets.join("uplot");
    let lock = fs::read(assets.join("package-lock.json"))?;
    if fs::read(library.join("package-lock.json")).is_ok_and(|of_library| of_library == lock) {
        return Ok(());
    }
    let packages = install_packages(&assets, &repository.target.join("report-page/assets"))?;
    if library.exists() {
        fs::remove_dir_all(&library)?;
    }
    fs::create_dir(&library)?;
    for file in UPLOT.map(Path::new) {
        let name = file.file_name().expect("each of them is a file");
        fs::copy(packages.join("uplot").join(file), library.join(name))?;
    }
    Ok(fs::write(library.join("package-lock.json"), lock)?)
}

/// Makes pages of records and opens them in Chromium. The pictures are in `target/report-page`.
pub fn take_pictures(repository: &Repository) -> Result<()> {
    fetch_assets(repository)?;
    let browser = find_browser().context("there is no Chromium: install Debian's package `chromium`")?;
    let folder = repository.target.join("report-page");
    let packages = install_packages(&repository.root.join(CHECK), &folder.join("check"))?;
    let pages = make_pages(repository, &folder)?;
    // The script finds its packages in the working directory.
    let working_directory = packages.parent().context("npm's folder is in another")?;
    command("node")
        .arg(repository.root.join(CHECK).join("check.mjs"))
        .args([&browser, &folder])
        .args(&pages)
        .current_dir(working_directory)
        .run()?;
    println!("the pictures are in {}", folder.to_string_lossy());
    Ok(())
}

/// Returns the path of the first browser in the PATH that can be started.
pub fn find_browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut browsers = BROWSERS
        .iter()
        .flat_map(|browser| folders.iter().map(move |folder| folder.join(browser)));
    browsers.find(|browser| Command::new(browser).arg("--version").succeeds())
}

/// Returns whether npm and Node.js are there.
pub fn has_npm() -> bool {
    ["node", "npm"]
        .into_iter()
        .all(|program| command(program).arg("--version").succeeds())
}

/// Installs the packages of a lock file into a folder, without running their scripts. Returns where they are.
fn install_packages(source: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name))?;
    }
    command("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .current_dir(folder)
        .run()
        .context("npm can't fetch the packages")?;
    Ok(folder.join("node_modules"))
}

/// Makes a page of each log.
fn make_pages(repository: &Repository, folder: &Path) -> Result<Vec<PathBuf>> {
    cargo(&["build", "--release", "-p", "mpwasm-cli"])
        .current_dir(&repository.root)
        .run()?;
    let mut pages = Vec::new();
    for (name, log) in records::write_logs(folder)? {
        let page = folder.join(name).with_extension("html");
        command("target/release/mpwasm")
            .current_dir(&repository.root)
            .args(["report", "--format", "html", "-o"])
            .args([&page, &log])
            .run()?;
        let size = fs::metadata(&page)?.len();
        ensure!(size < 4 << 20, "{} has {size} bytes", page.to_string_lossy());
        pages.push(page);
    }
    Ok(pages)
}
