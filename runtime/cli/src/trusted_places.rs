//! Refuses to grant tasks write access to places that mpwasm trusts.
//!
//! The library refuses a grant over its cache and its executable. The command line also trusts records, results and the crates
//! that it builds. It checks all of them here before anything is built or started, and says what to do instead.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mpwasm::escape::Untrusted;
use mpwasm::{Access, Cache, DirGrant, Error, Overlap};

use crate::process::exit::{ExitError, OrExit};

/// A file or directory that mpwasm trusts.
#[derive(Debug)]
pub struct TrustedPlace {
    /// Its description: a noun with its article.
    pub what: &'static str,
    /// Its path, which may not exist yet.
    pub path: PathBuf,
    /// What the user can do besides granting the directory with `:ro`: the rest of a sentence.
    pub way_out: &'static str,
}

impl TrustedPlace {
    /// Returns the cache of compiled guests.
    pub fn cache(cache: &Cache) -> Self {
        Self {
            what: "the cache of compiled guests",
            path: cache.path().to_owned(),
            way_out: "use --no-cache, or keep the cache in another place with MPWASM_CACHE_DIR",
        }
    }

    /// Returns the file of records.
    pub fn records(path: &Path) -> Self {
        Self {
            what: "the file of --results",
            path: path.to_owned(),
            way_out: "or write the records to another place",
        }
    }

    /// Returns the folder of `--results-dir`.
    pub fn folders(path: &Path) -> Self {
        Self {
            what: "the folder of --results-dir",
            path: path.to_owned(),
            way_out: "or write the results to another place",
        }
    }

    /// Returns the file of `--objects-out`.
    pub fn objects(path: &Path) -> Self {
        Self {
            what: "the file of --objects-out",
            path: path.to_owned(),
            way_out: "or write the objects to another place",
        }
    }

    /// Returns mpwasm's executable, by all paths that are known of it.
    pub fn executables() -> impl Iterator<Item = Self> {
        let own = Some(PathBuf::from("/proc/self/exe"));
        own.into_iter().chain(invoked_as()).map(|path| Self {
            what: "mpwasm's own executable",
            path,
            way_out: "or run an mpwasm that is in another place",
        })
    }
}

/// Returns the path by which the shell found this program, which may be a link.
fn invoked_as() -> Option<PathBuf> {
    let name = env::args_os().next()?;
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    find_in_path(&name)
}

/// Returns the first file of this name in the folders of `PATH`.
pub fn find_in_path(name: &OsStr) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Refuses writable directories through which tasks could change one of these places.
///
/// # Errors
/// A usage error that names the directory, the place and the alternatives.
pub fn check(dirs: &[DirGrant], places: impl IntoIterator<Item = TrustedPlace>) -> Result<(), ExitError> {
    if !dirs.iter().any(is_writable) {
        return Ok(());
    }
    for place in places {
        for dir in dirs {
            let Some(overlap) = Overlap::between(dir, &place.path).or_usage()? else {
                continue;
            };
            let TrustedPlace { what, path, way_out } = &place;
            let shown = match path.as_os_str().as_bytes() {
                b"/proc/self/exe" => env::current_exe().unwrap_or_else(|_| path.clone()),
                _ => path.clone(),
            };
            return Err(ExitError::usage(Error::Grant {
                path: dir.host().to_owned(),
                why: format!(
                    "it {overlap} {what}, {}, which tasks must not be able to change: grant it with :ro, {way_out}",
                    Untrusted::from(&shown)
                ),
            }));
        }
    }
    Ok(())
}

/// Refuses a file of records with several hard links if a directory is writable: one of the links may be in it.
///
/// # Errors
/// A usage error that names the file.
pub fn check_links(dirs: &[DirGrant], records: &Path) -> Result<(), ExitError> {
    let has_several = fs::symlink_metadata(records).is_ok_and(|file| file.is_file() && file.nlink() > 1);
    if !has_several || !dirs.iter().any(is_writable) {
        return Ok(());
    }
    Err(ExitError::usage(anyhow!(
        "the file {} has other names (hard links), which may be in a directory that tasks may change: grant directories with \
         :ro, or write the records to another file",
        Untrusted::from(&records)
    )))
}

/// Returns whether tasks may change this directory.
pub fn is_writable(dir: &DirGrant) -> bool {
    dir.access() == Access::ReadWrite
}
