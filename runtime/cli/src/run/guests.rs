//! The guests of a run, and the names by which task lines refer to them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use mpwasm::escape::Untrusted;
use mpwasm::internal::Rejected;
use mpwasm::{Guest, Pool, Task};
use mpwasm_types::task_line::TaskLine;

use crate::build::BuildOptions;
use crate::process::exit::has_pool_ended;
use crate::process::exit::{ExitError, OrExit};
use crate::run::output::task_identity::guest_number;

/// A guest that the command line names.
#[derive(Debug)]
pub struct GuestArg {
    /// Names for task lines: the argument, its path, its file name, and the file name without extension.
    names: Vec<String>,
    /// The path of its module.
    module: PathBuf,
    /// The model of tasks that name none.
    model: Option<String>,
}

impl GuestArg {
    /// Splits `GUEST[#MODEL]`, and builds a crate directory.
    ///
    /// # Errors
    /// When there is no such guest, or its crate can't be built.
    pub fn find(given: &OsString, building: &BuildOptions) -> Result<Self, ExitError> {
        let (path, model) = split_model(given).or_usage()?;
        let module = building.module(&path)?;
        let text = |name: &OsStr| name.to_string_lossy().into_owned();
        let mut names = vec![text(given), text(path.as_os_str())];
        names.extend(path.file_name().map(text));
        names.extend(path.file_stem().map(text));
        names.dedup();
        Ok(Self { names, module, model })
    }
}

/// Returns the crate directories among the guests that the command line names.
pub fn crates(given: &[OsString]) -> impl Iterator<Item = PathBuf> {
    let paths = given.iter().filter_map(|guest| split_model(guest).ok());
    paths.map(|(path, _)| path).filter(|path| path.is_dir())
}

/// Splits `GUEST[#MODEL]`. The longest existing path is the guest, even if it contains a `#`.
fn split_model(guest: &OsStr) -> anyhow::Result<(PathBuf, Option<String>)> {
    if Path::new(guest).exists() {
        return Ok((guest.into(), None));
    }
    let bytes = guest.as_bytes();
    let hashes = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'#');
    for (at, _) in hashes {
        let path = Path::new(OsStr::from_bytes(&bytes[..at]));
        if !path.exists() {
            continue;
        }
        return match str::from_utf8(&bytes[at + 1..]) {
            Ok("") => bail!("no model is named after the # of {}", Untrusted::from(guest)),
            Ok(model) => Ok((path.to_owned(), Some(model.to_owned()))),
            Err(_) => bail!("the model named after the # is not UTF-8"),
        };
    }
    bail!("no such guest: {}", Untrusted::from(guest))
}

/// A guest that the pool has loaded.
#[derive(Debug)]
pub struct LoadedGuest {
    names: Vec<String>,
    /// The guest.
    pub guest: Guest,
    /// The model of tasks that name none, if the command line names it.
    pub model: Option<String>,
}

/// All guests of a run, at least one.
#[derive(Debug)]
pub struct LoadedGuests(Vec<LoadedGuest>);

impl LoadedGuests {
    /// Loads all guests, so that a bad one is refused before any task runs. Returns `None` if the pool has ended meanwhile.
    ///
    /// # Errors
    /// When a guest can't be loaded.
    pub fn load(named: Vec<GuestArg>, pool: &Pool) -> Result<Option<Self>, ExitError> {
        let mut all = Vec::new();
        for GuestArg { names, module, model } in named {
            let guest = match pool.load(&module) {
                Ok(guest) => guest,
                Err(error) if has_pool_ended(&error) => return Ok(None),
                Err(error) => return Err(ExitError::of_guest(error)),
            };
            if let Some(name) = &model {
                guest
                    .model(name)
                    .map_err(|why| ExitError::usage(anyhow!("{}: {why}", names[0])))?;
            }
            all.push(LoadedGuest { names, guest, model });
        }
        Ok(Some(Self(all)))
    }

    /// Returns all guests.
    pub fn all(&self) -> &[LoadedGuest] {
        &self.0
    }

    /// Returns the hash of the first guest.
    pub fn first_hash(&self) -> [u8; 32] {
        *self.0[0].guest.hash()
    }

    /// Returns the numbers by which a log names the guests.
    pub fn log_numbers(&self) -> Vec<u64> {
        self.0.iter().map(|one| guest_number(one.guest.hash())).collect()
    }

    /// Returns the only guest, or `None` if there are several.
    pub fn only(&self) -> Option<&LoadedGuest> {
        match &self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Returns unambiguous names for task lines, by the guest's hash, or `None` if there is only one guest.
    pub fn line_names(&self) -> Option<HashMap<[u8; 32], String>> {
        let name = |one: &LoadedGuest| (*one.guest.hash(), one.names[0].clone());
        match self.only() {
            Some(_) => None,
            None => Some(self.0.iter().map(name).collect()),
        }
    }

    /// Returns the guest that a task line names.
    fn find(&self, name: Option<&str>) -> anyhow::Result<&LoadedGuest> {
        let Some(name) = name else {
            return self
                .only()
                .ok_or_else(|| anyhow!("it names no `guest`, and there are {}", listed(&self.0)));
        };
        // The argument itself takes precedence over other names.
        if let Some(exactly) = self.0.iter().find(|one| one.names[0] == name) {
            return Ok(exactly);
        }
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|one| one.names.iter().any(|known| known == name))
            .collect();
        match found[..] {
            [one] => Ok(one),
            [] => bail!("there is no guest `{name}`; there are {}", listed(&self.0)),
            _ => bail!("the guest `{name}` could be {}", listed(found)),
        }
    }

    /// Returns the task of a line, or why it is none.
    pub fn task(&self, line: TaskLine) -> Result<Task, Rejected> {
        let rejected = |message: String, line: TaskLine, model: &str| Rejected {
            key: line.key,
            model: line.model.unwrap_or_else(|| model.to_owned()),
            args: Some(line.args),
            message,
        };
        let one = match self.find(line.guest.as_deref()) {
            Ok(one) => one,
            Err(error) => return Err(rejected(error.to_string(), line, "")),
        };
        let model = one.model.as_deref().unwrap_or_default();
        one.guest
            .line_task(&line, model)
            .map_err(|error| rejected(error.to_string(), line, model))
    }

    /// Rejects a line that can't be parsed.
    pub fn rejected(&self, message: String) -> Rejected {
        let model = self.only().and_then(|one| one.model.clone());
        Rejected {
            key: None,
            model: model.unwrap_or_default(),
            args: None,
            message,
        }
    }
}

/// Lists guests for a message, as the command line names them.
fn listed<'a>(guests: impl IntoIterator<Item = &'a LoadedGuest>) -> String {
    let names: Vec<_> = guests
        .into_iter()
        .map(|one| format!("`{}`", one.names[0]))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_existing_file_wins_over_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let split = |name: &str| split_model(path(name).as_os_str());
        fs::write(path("g.wasm"), "").unwrap();
        fs::write(path("g.wasm#A"), "").unwrap();
        assert_eq!(split("g.wasm").unwrap(), (path("g.wasm"), None));
        assert_eq!(split("g.wasm#A").unwrap(), (path("g.wasm#A"), None));
        assert_eq!(split("g.wasm#B").unwrap(), (path("g.wasm"), Some("B".into())));
        assert_eq!(split("g.wasm#A#B").unwrap(), (path("g.wasm#A"), Some("B".into())));
        assert_eq!(split("g.wasm#C#D").unwrap(), (path("g.wasm"), Some("C#D".into())));
        assert!(
            split("g.wasm#")
                .unwrap_err()
                .to_string()
                .contains("no model is named")
        );
        assert!(
            split("h.wasm#A")
                .unwrap_err()
                .to_string()
                .contains("no such guest")
        );
    }
}
