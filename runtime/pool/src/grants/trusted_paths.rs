//! Paths that mpwasm trusts, and whether a granted directory lets tasks change them.
//!
//! A path leads through folders and symbolic links. A process that may write to one of these folders can change where the
//! path leads. So a [`ResolvedPath`] contains all folders on the way, as well as the end. They are compared by
//! [location](Location), which is the same through a link or another mount.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::cache::Cache;
use crate::grants::mounts::{Location, Mounts};
use mpwasm_sandbox::child::Executable;

/// Symbolic links that are followed along a path that must be trusted: as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// How a granted directory relates to a place that must be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overlap {
    /// The place is in the directory.
    Contains,
    /// The place is the directory.
    Is,
    /// The directory is in the place.
    LiesIn,
    /// The directory contains a link or a mount point through which the path leads to the place.
    LeadsTo,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contains => "contains",
            Self::Is => "is",
            Self::LiesIn => "lies in",
            Self::LeadsTo => "has a link in it that leads to",
        })
    }
}

/// A path that was followed as far as it exists.
#[derive(Debug, Default)]
pub(crate) struct ResolvedPath {
    /// The folders in which names of the path were looked up.
    through: Vec<Location>,
    /// The location of what the path leads to, or of what would be created there. `None` if it is on no mount of this
    /// process.
    end: Option<Location>,
}

/// One step along a path.
enum Step {
    /// To a folder or another file.
    To(OwnedFd, SFlag),
    /// To a symbolic link with this target.
    Link(PathBuf),
}

impl ResolvedPath {
    /// Follows a path.
    ///
    /// # Errors
    /// When the location of an open file can't be determined. A path that does not exist or can't be reached is not an error.
    pub fn find(path: &Path, mounts: &Mounts) -> io::Result<Self> {
        let mut place = Self::default();
        let mut links = 0;
        let mut folder = start_of(path)?;
        let mut names = names_of(path);
        while let Some(name) = names.pop_front() {
            if name != ".." {
                let location = mounts.locate(&folder)?;
                place.through.extend(location);
            }
            match step(&folder, &name) {
                Ok(Step::To(next, SFlag::S_IFDIR)) => folder = next,
                Ok(Step::To(file, _)) if names.is_empty() => {
                    place.end = mounts.locate(&file)?;
                    return Ok(place);
                }
                Ok(Step::Link(target)) if links < MAX_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        folder = start_of(&target)?;
                    }
                    let mut all = names_of(&target);
                    all.append(&mut names);
                    names = all;
                }
                // The path does not go further: it does not exist, can't be reached, or has too many links.
                Ok(_) | Err(_) => {
                    let rest: PathBuf = std::iter::once(name).chain(names).collect();
                    place.end = mounts.locate(&folder)?.map(|location| location.join(&rest));
                    return Ok(place);
                }
            }
        }
        place.end = mounts.locate(&folder)?;
        Ok(place)
    }

    /// Returns how a directory relates to this path. `trees` are the locations that the directory contains, its own
    /// first.
    pub fn overlap(&self, trees: &[Location]) -> Option<Overlap> {
        let in_a_tree = |location: &Location| trees.iter().any(|tree| location.is_in(tree));
        match &self.end {
            Some(end) if trees.first() == Some(end) => Some(Overlap::Is),
            Some(end) if in_a_tree(end) => Some(Overlap::Contains),
            Some(end) if trees.iter().any(|tree| tree.is_in(end)) => Some(Overlap::LiesIn),
            _ if self.through.iter().any(in_a_tree) => Some(Overlap::LeadsTo),
            _ => None,
        }
    }
}

fn names_of(path: &Path) -> VecDeque<OsString> {
    let is_name = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let names = path.components().filter(is_name);
    names.map(|part| part.as_os_str().to_owned()).collect()
}

/// Opens the folder in which a path begins.
fn start_of(path: &Path) -> io::Result<OwnedFd> {
    let start = if path.is_absolute() { "/" } else { "." };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(AT_FDCWD, start, flags, Mode::empty())?)
}

fn step(folder: &OwnedFd, name: &OsString) -> Result<Step, Errno> {
    let open = |flags| {
        openat(
            folder,
            name.as_os_str(),
            flags | OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    };
    let kind = |fd: &OwnedFd| Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT);
    let next = open(OFlag::O_NOFOLLOW)?;
    match kind(&next)? {
        // A link of procfs need not lead where its text says.
        SFlag::S_IFLNK if fstatfs(&next)?.filesystem_type() == PROC_SUPER_MAGIC => {
            let behind = open(OFlag::empty())?;
            let kind = kind(&behind)?;
            Ok(Step::To(behind, kind))
        }
        SFlag::S_IFLNK => Ok(Step::Link(readlinkat(&next, "")?.into())),
        kind => Ok(Step::To(next, kind)),
    }
}

/// Paths that a pool trusts, and that tasks must not be able to change.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedPaths {
    /// The directory of compiled guests.
    cache: Option<PathBuf>,
    /// The executable of the pool's processes, by each path that was used for it.
    executables: Vec<PathBuf>,
}

impl TrustedPaths {
    /// Adds these paths. `named` is the path by which the user named the executable.
    pub fn with(mut self, cache: Option<&Cache>, executable: &Executable, named: Option<PathBuf>) -> Self {
        self.cache = cache.map(|cache| cache.path().to_owned()).or(self.cache);
        for path in named.into_iter().chain([executable.path().to_owned()]) {
            if !self.executables.contains(&path) {
                self.executables.push(path);
            }
        }
        self
    }

    /// Iterates over the places: what each is, its path, and what the user can do instead.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &Path, &'static str)> {
        let cache = self.cache.iter().map(|path| {
            let advice = "grant it read-only, or keep the cache in another place";
            ("the cache of compiled guests", path.as_path(), advice)
        });
        let executables = self.executables.iter().map(|path| {
            let advice = "grant it read-only, or run an executable in another place";
            ("the executable of the pool's processes", path.as_path(), advice)
        });
        cache.chain(executables)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    /// Returns how the folder `granted` in `root` relates to another path in `root`.
    fn overlap(root: &Path, granted: &str, path: &str) -> Option<Overlap> {
        let mounts = Mounts::read().unwrap();
        let trees = mounts.trees(File::open(root.join(granted)).unwrap()).unwrap();
        ResolvedPath::find(&root.join(path), &mounts)
            .unwrap()
            .overlap(&trees)
    }

    #[test]
    fn a_folder_overlaps_what_is_in_it_around_it_and_what_its_links_lead_to() {
        use Overlap::{Contains, Is, LeadsTo, LiesIn};
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(root.join("other")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        symlink("../a", root.join("other/link")).unwrap();
        symlink(root.join("other/link"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("a/to come", root.join("dangling")).unwrap();
        for (granted, path, expected) in [
            ("a", "a", Some(Is)),
            ("a", "a/b", Some(Contains)),
            ("a", "a/file", Some(Contains)),
            ("a", "a/none/yet", Some(Contains)),
            ("a", "a/file/none", Some(Contains)),
            ("a", "other/../a/b", Some(Contains)),
            ("a/b", "a", Some(LiesIn)),
            ("a/b", "a/file", None),
            ("a/b", "a/bc", None),
            ("other", "a", None),
            // Through links.
            ("other/link", "a/b", Some(Contains)),
            ("a", "absolute/b", Some(Contains)),
            ("a/b", "absolute/b", Some(Is)),
            ("a", "dangling", Some(Contains)),
            ("other", "absolute", Some(LeadsTo)),
            ("other", "other/link/b", Some(LeadsTo)),
            ("other", "loop", None),
            // It would be created there.
            ("a/b", "none", None),
        ] {
            assert_eq!(overlap(root, granted, path), expected, "{granted} {path}");
        }
    }

    #[test]
    fn the_links_of_the_kernel_lead_to_what_they_are_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("file")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let path = format!("/proc/self/fd/{number}");
        assert_eq!(overlap(folder.path(), ".", &path), Some(Overlap::Contains));
        let executable = std::env::current_exe().unwrap();
        let own = executable.parent().unwrap();
        assert_eq!(overlap(own, ".", "/proc/self/exe"), Some(Overlap::Contains));
    }
}
