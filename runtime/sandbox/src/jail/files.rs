//! Landlock: restricts the file system, TCP, signals and abstract sockets.
//!
//! Everything that the kernel can deny is denied, except for the directories that are granted to tasks. The parent has
//! opened these, and nothing in them can be executed. A dispatcher has further exceptions, since the workers that it spawns
//! inherit its rules: the files of which a copy of this executable consists; and reading /proc, where a worker's engine
//! opens its own page map. The kernel denies access to the data of other processes below /proc, unless the reader could
//! attach to them.
//!
//! A rule applies to a file or directory, not to its name. Libraries of the system may be replaced while a pool runs, so
//! their directories may be read. Of all others only the files may be read.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::error::JailError;
use mpwasm_types::grants::{Access, OpenDir};
use mpwasm_types::role::Role;

/// Newest ABI that this code supports. An older kernel denies what its own ABI can deny.
const NEWEST: ABI = ABI::V6;

/// Restricts this process to the files and signals of its role (step 8).
pub fn restrict<'a>(role: Role, dirs: impl IntoIterator<Item = &'a OpenDir>) -> Result<(), JailError> {
    let fail = |error: landlock::RulesetError| JailError::new("Landlock", error);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(fail)?;
    if role == Role::Dispatcher {
        for (path, access) in own_files() {
            ruleset = allow(ruleset, &path, access)?;
        }
        ruleset = allow(ruleset, Path::new("/proc"), AccessFs::ReadFile.into())?;
    }
    for dir in dirs {
        ruleset = ruleset
            .add_rule(PathBeneath::new(&dir.fd, granted(dir.access)))
            .map_err(fail)?;
    }
    ruleset.restrict_self().map_err(fail)?;
    Ok(())
}

/// Adds a rule for a path. A path that does not exist needs none.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, JailError> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    ruleset
        .add_rule(PathBeneath::new(opened, access))
        .map_err(|error| JailError::new("Landlock", error))
}

/// Returns what tasks may do in a directory. They can't create device files, pipes or sockets.
fn granted(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match access {
        Access::ReadOnly => read,
        Access::ReadWrite => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
    }
}

/// Directories that hold only libraries of the system.
const SYSTEM_DIRS: [&str; 4] = ["/usr/lib", "/usr/local/lib", "/lib", "/lib64"];

/// Returns this executable, its loader and its libraries, with the required access. They are the files that are mapped as
/// code into this process, and workers are copies of it.
fn own_files() -> BTreeMap<PathBuf, BitFlags<AccessFs>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let executable = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let mut files = BTreeMap::<_, BitFlags<AccessFs>>::new();
    for file in maps.lines().filter_map(code_file).map(Path::new) {
        if file != executable {
            let (path, access) = library(file);
            *files.entry(path.to_owned()).or_default() |= access;
        }
    }
    // This is the right file, even if another one has replaced it under its name.
    files.insert("/proc/self/exe".into(), AccessFs::Execute | AccessFs::ReadFile);
    // The loader reads it to find libraries.
    files.insert("/etc/ld.so.cache".into(), AccessFs::ReadFile.into());
    files
}

/// Returns the path and the access to allow for a library. The loader is the one that is executed.
fn library(file: &Path) -> (&Path, BitFlags<AccessFs>) {
    let name = file.file_name().unwrap_or_default();
    let access = match name.as_bytes().starts_with(b"ld-") {
        true => AccessFs::Execute | AccessFs::ReadFile,
        false => AccessFs::ReadFile.into(),
    };
    let is_system = SYSTEM_DIRS.iter().any(|dir| file.starts_with(dir));
    match file.parent() {
        Some(dir) if is_system => (dir, access),
        _ => (file, access),
    }
}

/// Returns the file of a line of `/proc/PID/maps`, if it maps code from a file.
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
    fn code_files_are_those_that_are_mapped_executable() {
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
    fn directories_of_the_system_may_be_read_and_of_others_only_the_library() {
        let read = BitFlags::from(AccessFs::ReadFile);
        let execute = AccessFs::Execute | AccessFs::ReadFile;
        for (file, path, access) in [
            ("/usr/lib/x/libc.so.6", "/usr/lib/x", read),
            ("/usr/lib/x/ld-linux-x86-64.so.2", "/usr/lib/x", execute),
            ("/home/user/app/plugin.so", "/home/user/app/plugin.so", read),
            ("/usr/library/x.so", "/usr/library/x.so", read),
        ] {
            assert_eq!(library(Path::new(file)), (Path::new(path), access), "{file}");
        }
    }

    #[test]
    fn the_files_of_this_process_are_its_executable_its_libraries_and_one_loader() {
        let files = own_files();
        let own = files[Path::new("/proc/self/exe")];
        assert_eq!(own, AccessFs::Execute | AccessFs::ReadFile);
        let loader = files.iter().filter(|(path, _)| !path.starts_with("/proc"));
        let executed = loader
            .filter(|(_, access)| access.contains(AccessFs::Execute))
            .count();
        assert!(executed <= 1, "only the directory of the loader: {files:?}");
    }
}
