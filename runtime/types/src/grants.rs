//! Grants of a pool: directories, a scratch directory and environment variables for guests.
//!
//! Grants are declared before a pool starts and hold for all tasks in its workers. Callbacks and `tasks` get none. [`Grants`] is
//! what the user declares, [`Granted`] what a worker receives. The parent opens the directories, and no other process uses
//! their host paths.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Bytes of the names and values of all environment variables. They are copied for each instance that asks for them.
pub const MAX_ENVIRONMENT: usize = 128 << 10;

/// Directories that a pool can grant. Their descriptors travel in one message.
pub const MAX_DIRS: usize = 32;

/// Grants for the tasks of a pool. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Directories, each under a name of its own.
    pub dirs: Vec<DirGrant>,
    /// Environment variables: values by name.
    pub env: BTreeMap<String, String>,
    /// Size in bytes of a scratch directory, `/tmp`, that each task has for itself. It is empty when the task begins and is
    /// removed when it ends.
    pub tmp: Option<u64>,
}

/// Why something can't be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGrant {
    /// The path of a directory on this machine is empty.
    #[error("the directory has no name")]
    NoHostName,
    /// The name of a directory for guests is empty.
    #[error("the name that guests know the directory by is empty")]
    NoGuestName,
    /// The name of a directory for guests is not UTF-8.
    #[error("the name that guests know the directory by is not UTF-8")]
    GuestNameNotUtf8,
    /// A name of a directory contains a zero byte.
    #[error("the name of a directory holds a zero byte")]
    ZeroByte,
    /// There are more than [`MAX_DIRS`] directories.
    #[error("a pool grants at most {MAX_DIRS} directories")]
    TooManyDirs,
    /// Two directories have the same name for guests: this one.
    #[error("two directories are granted as {0:?}")]
    SameName(String),
    /// A directory has the name of the scratch directory.
    #[error("a directory and the scratch directory are both {SCRATCH}")]
    ScratchName,
    /// The scratch directory has room for no byte.
    #[error("a scratch directory has at least one byte")]
    EmptyScratch,
    /// The text of a variable contains no `=`.
    #[error("a variable is written NAME=VALUE")]
    NoValue,
    /// The name of a variable is empty.
    #[error("a variable has no name")]
    UnnamedVariable,
    /// The variable of this name, or the name itself, contains a character that it can't have.
    #[error("the variable {0:?} holds what no variable can: a zero byte, or = in its name")]
    BadVariable(String),
    /// All variables together are larger than [`MAX_ENVIRONMENT`].
    #[error("the environment of guests is larger than {MAX_ENVIRONMENT} bytes")]
    EnvironmentTooLarge,
}

/// Path of the scratch directory for guests.
pub const SCRATCH: &str = "/tmp";

/// Access of tasks to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// List directories and read files.
    ReadOnly,
    /// Also create, change and remove them.
    ReadWrite,
}

/// Grants a directory and everything beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirGrant {
    /// Path on this machine. Only the parent uses it: it opens the directory and passes the descriptor on.
    #[serde(skip)]
    host: PathBuf,
    guest: String,
    access: Access,
}

impl DirGrant {
    /// Grants the directory `host` under the name `guest`.
    ///
    /// # Errors
    /// Fails if a name is empty or contains a zero byte.
    pub fn new(
        host: impl Into<PathBuf>,
        guest: impl Into<String>,
        access: Access,
    ) -> Result<Self, InvalidGrant> {
        let (host, guest) = (host.into(), guest.into());
        if host.as_os_str().is_empty() {
            return Err(InvalidGrant::NoHostName);
        }
        if host.as_os_str().as_bytes().contains(&0) || guest.contains('\0') {
            return Err(InvalidGrant::ZeroByte);
        }
        if guest.is_empty() {
            return Err(InvalidGrant::NoGuestName);
        }
        Ok(Self { host, guest, access })
    }

    /// Parses `HOST[::GUEST][:ro]`. Without `GUEST`, the directory has the same name for guests. `HOST` ends at the first `::`.
    /// For a directory with `::` in its name, use a symbolic link or [`DirGrant::new`].
    ///
    /// ```
    /// # mod mpwasm { pub use mpwasm_types::grants::{Access, DirGrant}; }
    /// use mpwasm::{Access, DirGrant};
    ///
    /// let data = DirGrant::parse("/srv/data::/data:ro").unwrap();
    /// assert_eq!(data, DirGrant::new("/srv/data", "/data", Access::ReadOnly).unwrap());
    /// assert_eq!(DirGrant::parse("out").unwrap().guest(), "out");
    /// ```
    ///
    /// # Errors
    /// Fails if the text is malformed, or a name is empty, not UTF-8 or contains a zero byte.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, InvalidGrant> {
        let text = text.as_ref().as_bytes();
        let (path, access) = match text.strip_suffix(b":ro") {
            Some(path) => (path, Access::ReadOnly),
            None => (text, Access::ReadWrite),
        };
        let (host, guest) = match path.windows(2).position(|pair| pair == b"::") {
            Some(at) => (&path[..at], &path[at + 2..]),
            None => (path, path),
        };
        let guest = str::from_utf8(guest).map_err(|_| InvalidGrant::GuestNameNotUtf8)?;
        Self::new(OsStr::from_bytes(host), guest, access)
    }

    /// Returns the path on this machine.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// Returns the name for guests.
    #[must_use]
    pub fn guest(&self) -> &str {
        &self.guest
    }

    /// Returns the access of tasks.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Returns the name without trailing slashes, which guests ignore.
    fn found_as(&self) -> &str {
        match self.guest.trim_end_matches('/') {
            "" => "/",
            name => name,
        }
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), InvalidGrant> {
    if name.is_empty() {
        return Err(InvalidGrant::UnnamedVariable);
    }
    if name.contains(['\0', '=']) || value.contains('\0') {
        return Err(InvalidGrant::BadVariable(name.to_owned()));
    }
    Ok(())
}

impl Grants {
    /// Parses a variable: `NAME=VALUE`.
    ///
    /// # Errors
    /// Fails if the name is empty, or either contains a zero byte.
    pub fn variable(text: &str) -> Result<(String, String), InvalidGrant> {
        let (name, value) = text.split_once('=').ok_or(InvalidGrant::NoValue)?;
        check_variable(name, value)?;
        Ok((name.to_owned(), value.to_owned()))
    }

    /// Returns the widest access to any granted directory. `None` if there is none.
    #[must_use]
    pub fn files(&self) -> Option<Access> {
        let scratch = self.tmp.map(|_| Access::ReadWrite);
        self.dirs.iter().map(DirGrant::access).chain(scratch).max()
    }

    /// Checks the grants as a whole.
    ///
    /// # Errors
    /// Fails if two directories have the same name, or a limit is exceeded.
    pub fn check(&self) -> Result<(), InvalidGrant> {
        for (name, value) in &self.env {
            check_variable(name, value)?;
        }
        let size: usize = self
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if size > MAX_ENVIRONMENT {
            return Err(InvalidGrant::EnvironmentTooLarge);
        }
        if self.dirs.len() > MAX_DIRS {
            return Err(InvalidGrant::TooManyDirs);
        }
        for (number, dir) in self.dirs.iter().enumerate() {
            if self.dirs[..number]
                .iter()
                .any(|other| other.found_as() == dir.found_as())
            {
                return Err(InvalidGrant::SameName(dir.guest.clone()));
            }
            if self.tmp.is_some() && dir.found_as() == SCRATCH {
                return Err(InvalidGrant::ScratchName);
            }
        }
        if self.tmp == Some(0) {
            return Err(InvalidGrant::EmptyScratch);
        }
        Ok(())
    }
}

/// An open granted directory. It stays the same directory if its path is renamed.
#[derive(Debug)]
pub struct OpenDir {
    /// Descriptor of the directory, opened with `O_PATH`.
    pub fd: OwnedFd,
    /// Its name for guests.
    pub guest: String,
    /// Access of tasks.
    pub access: Access,
}

impl OpenDir {
    /// Creates a scratch directory.
    #[must_use]
    pub fn scratch(fd: OwnedFd) -> Self {
        Self {
            fd,
            guest: SCRATCH.to_owned(),
            access: Access::ReadWrite,
        }
    }
}

/// Grants with open directories, as the dispatcher and its workers have them.
#[derive(Debug, Default)]
pub struct Granted {
    /// The directories.
    pub dirs: Vec<OpenDir>,
    /// The scratch directory of a worker, if granted.
    pub scratch: Option<OpenDir>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl Granted {
    /// Combines grants with their descriptors, which `next` returns in order.
    ///
    /// # Errors
    /// Fails if `next` does.
    pub fn new<E>(grants: Grants, mut next: impl FnMut() -> Result<OwnedFd, E>) -> Result<Self, E> {
        let open = |DirGrant { guest, access, .. }| {
            Ok(OpenDir {
                fd: next()?,
                guest,
                access,
            })
        };
        Ok(Self {
            dirs: grants.dirs.into_iter().map(open).collect::<Result<_, E>>()?,
            scratch: None,
            env: grants.env,
        })
    }

    /// Like [`new`](Self::new), for a worker: with its scratch directory, if granted, after the others.
    ///
    /// # Errors
    /// Fails if `next` does.
    pub fn of_worker<E>(grants: Grants, mut next: impl FnMut() -> Result<OwnedFd, E>) -> Result<Self, E> {
        let has_scratch = grants.tmp.is_some();
        let mut granted = Self::new(grants, &mut next)?;
        if has_scratch {
            granted.scratch = Some(OpenDir::scratch(next()?));
        }
        Ok(granted)
    }

    /// Iterates over all directories of tasks, including the scratch directory.
    pub fn all_dirs(&self) -> impl Iterator<Item = &OpenDir> {
        self.dirs.iter().chain(&self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, String, Access) {
        let dir = DirGrant::parse(text).unwrap();
        (dir.host.display().to_string(), dir.guest, dir.access)
    }

    #[test]
    fn a_directory_has_a_name_for_guests_and_may_be_read_only() {
        use Access::{ReadOnly, ReadWrite};
        for (text, host, guest, access) in [
            ("data", "data", "data", ReadWrite),
            ("data:ro", "data", "data", ReadOnly),
            ("/srv/a b::/data", "/srv/a b", "/data", ReadWrite),
            ("/srv::/data:ro", "/srv", "/data", ReadOnly),
            (".::.", ".", ".", ReadWrite),
            ("/srv::data", "/srv", "data", ReadWrite),
            ("a:b::c:d:ro", "a:b", "c:d", ReadOnly),
            // The first of them, and the last :ro.
            ("a::b::c", "a", "b::c", ReadWrite),
            ("a:::b", "a", ":b", ReadWrite),
            ("a:ro:ro", "a:ro", "a:ro", ReadOnly),
            ("a:ro::b", "a:ro", "b", ReadWrite),
            ("a::b:ro:ro", "a", "b:ro", ReadOnly),
            ("/", "/", "/", ReadWrite),
            // A directory whose name ends in :ro is written with a slash.
            ("a:ro/", "a:ro/", "a:ro/", ReadWrite),
        ] {
            assert_eq!(parse(text), (host.to_owned(), guest.to_owned(), access), "{text}");
        }
        let odd = OsStr::from_bytes(b"\xff::data");
        assert_eq!(
            DirGrant::parse(odd).unwrap().host().as_os_str().as_bytes(),
            b"\xff"
        );
    }

    #[test]
    fn a_directory_with_colons_in_its_name_can_be_granted_by_a_program() {
        let dir = DirGrant::new("a::b", "c", Access::ReadWrite).unwrap();
        assert_eq!((dir.host(), dir.guest()), (Path::new("a::b"), "c"));
    }

    #[test]
    fn malformed_directories_are_rejected_with_a_reason() {
        for (text, why) in [
            (&b""[..], "no name"),
            (b":ro", "no name"),
            (b"::/data", "no name"),
            (b"::", "no name"),
            (b":::ro", "no name"),
            (b"::a::b", "no name"),
            (b"data::", "is empty"),
            (b"data:::ro", "is empty"),
            (b"\xff", "not UTF-8"),
            (b"data::\xff", "not UTF-8"),
            (b"da\0ta", "zero byte"),
            (b"data::\0", "zero byte"),
        ] {
            let error = DirGrant::parse(OsStr::from_bytes(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn variables_need_a_name() {
        assert_eq!(Grants::variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(Grants::variable("A="), Ok(("A".to_owned(), String::new())));
        for wrong in ["", "A", "=b", "A\0=b", "A=b\0"] {
            assert!(Grants::variable(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn grants_are_checked_as_a_whole() {
        let dir = |guest: &str| DirGrant::new("/", guest, Access::ReadOnly).unwrap();
        let dirs = |names: &[&str]| Grants {
            dirs: names.iter().copied().map(dir).collect(),
            ..Grants::default()
        };
        // The same directory under several names, also beneath one another.
        dirs(&["/", "/a", "/a/b", "a", "."]).check().unwrap();
        for twice in [["a", "a/"], ["/", "//"], ["b", "b"], ["/a/b", "/a/b//"]] {
            assert_eq!(
                dirs(&twice).check(),
                Err(InvalidGrant::SameName(twice[1].to_owned()))
            );
        }
        let env = |name: &str, value: &str| Grants {
            env: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..Grants::default()
        };
        env("A", "b").check().unwrap();
        for (name, value) in [("", "b"), ("A=", "b"), ("A", "\0")] {
            env(name, value).check().unwrap_err();
        }
        let scratch = |tmp, names: &[&str]| Grants {
            tmp: Some(tmp),
            ..dirs(names)
        };
        scratch(1, &["/", "/tmp2"]).check().unwrap();
        assert_eq!(scratch(0, &[]).check(), Err(InvalidGrant::EmptyScratch));
        assert_eq!(scratch(1, &["/tmp/"]).check(), Err(InvalidGrant::ScratchName));
        let large = "x".repeat(MAX_ENVIRONMENT);
        assert_eq!(env("A", &large).check(), Err(InvalidGrant::EnvironmentTooLarge));
    }
}
