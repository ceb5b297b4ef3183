//! Landlock: the file system, TCP, and other processes.
//!
//! Everything that the kernel can deny is denied. Only a dispatcher has exceptions, since whoever it starts lives
//! behind its wall: the files that a copy of this executable consists of, and /proc, to read, for a worker's engine
//! looks at the worker's own page map there. What others of the same user do is not to be seen there either: for that
//! the kernel asks whether they could be attached to, and Landlock denies it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::JailError;
use crate::role::Role;

/// The newest version that this code knows. What an older kernel does not have, it can't deny.
const NEWEST: ABI = ABI::V6;

/// Step 8.
pub fn shut(role: Role) -> Result<(), JailError> {
    let fail = |error: landlock::RulesetError| JailError::new("Landlock", error);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(fail)?;
    if role == Role::Dispatcher {
        for file in own_files() {
            ruleset = allow(ruleset, &file, AccessFs::Execute | AccessFs::ReadFile)?;
        }
        ruleset = allow(ruleset, Path::new("/proc"), AccessFs::ReadFile.into())?;
    }
    ruleset.restrict_self().map_err(fail)?;
    Ok(())
}

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, JailError> {
    // What is not there need not be allowed.
    let Ok(opened) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    ruleset
        .add_rule(PathBeneath::new(opened, access))
        .map_err(|error| JailError::new("Landlock", error))
}

/// This executable, its loader and its libraries: the files that are mapped as code into this process, which is a
/// copy of what it will start.
fn own_files() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut files: BTreeSet<_> = maps.lines().filter_map(code_file).map(PathBuf::from).collect();
    // Even if its file was replaced in the meantime, and the name stands for another one.
    files.insert("/proc/self/exe".into());
    // Where the loader looks first for libraries.
    files.insert("/etc/ld.so.cache".into());
    files
}

/// The file of a line of `/proc/PID/maps`, if code is mapped from one.
fn code_file(line: &str) -> Option<&str> {
    let mut fields = line.splitn(6, ' ');
    let permissions = fields.nth(1)?;
    let path = fields.nth(3)?.trim_start();
    (permissions.contains('x') && path.starts_with('/')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_mapped_executable_from_a_file() {
        let line = "7f1a-7f1b r-xp 00001000 fe:00 123   /usr/lib/libc.so.6";
        assert_eq!(code_file(line), Some("/usr/lib/libc.so.6"));
        let spaced = "7f1a-7f1b r-xp 00001000 fe:00 123   /a folder/mpwasm";
        assert_eq!(code_file(spaced), Some("/a folder/mpwasm"));
        for other in [
            "7f1a-7f1b r--p 00001000 fe:00 123   /usr/lib/libc.so.6",
            "7f1a-7f1b r-xp 00000000 00:00 0     [vdso]",
            "7f1a-7f1b r-xp 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(code_file(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_knows_what_it_is_made_of() {
        let files = own_files();
        let own = std::env::current_exe().unwrap();
        assert!(files.contains(&own), "{files:?}");
    }
}
