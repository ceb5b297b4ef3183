//! Landlock: the file system, TCP, and other processes.
//!
//! Everything that the kernel can deny is denied, but what is granted to tasks: the directories that the parent opened,
//! by their descriptors, and nothing is executed there. Only a dispatcher has further exceptions, since whoever it starts
//! lives behind its wall: the files that a copy of this executable consists of, and /proc, to read, for a worker's engine
//! looks at the worker's own page map there. What is in other processes is not to be seen there: for that the kernel
//! asks whether they could be attached to.
//!
//! A rule stands for a file or folder, not for its name. Libraries of the system are replaced while pools run, so their
//! folders may be read; of all others exactly the files.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::JailError;
use mpwasm_types::grants::{Access, OpenDir};
use mpwasm_types::role::Role;

/// The newest version that this code knows. What an older kernel does not have, it can't deny.
const NEWEST: ABI = ABI::V6;

/// Step 8.
pub fn shut<'a>(role: Role, dirs: impl IntoIterator<Item = &'a OpenDir>) -> Result<(), JailError> {
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

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, JailError> {
    // What is not there need not be allowed.
    let Ok(opened) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    ruleset
        .add_rule(PathBeneath::new(opened, access))
        .map_err(|error| JailError::new("Landlock", error))
}

/// What tasks may do in a directory. No devices, pipes or sockets are made there, whoever asks.
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

/// Folders in which only the system's own libraries are.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/lib", "/usr/local/lib", "/lib", "/lib64"];

/// This executable, its loader and its libraries: the files that are mapped as code into this process, which is a
/// copy of what it will start.
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
    // Even if its file was replaced in the meantime, and the name stands for another one.
    files.insert("/proc/self/exe".into(), AccessFs::Execute | AccessFs::ReadFile);
    // Where the loader looks first for libraries.
    files.insert("/etc/ld.so.cache".into(), AccessFs::ReadFile.into());
    files
}

/// What has to be allowed for a library; the loader is one that is executed.
fn library(file: &Path) -> (&Path, BitFlags<AccessFs>) {
    let name = file.file_name().unwrap_or_default();
    let access = match name.as_bytes().starts_with(b"ld-") {
        true => AccessFs::Execute | AccessFs::ReadFile,
        false => AccessFs::ReadFile.into(),
    };
    let is_systems = SYSTEM_FOLDERS.iter().any(|folder| file.starts_with(folder));
    match file.parent() {
        Some(folder) if is_systems => (folder, access),
        _ => (file, access),
    }
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
    fn folders_of_the_system_may_be_read_and_of_others_only_the_library() {
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
    fn this_process_knows_what_it_is_made_of() {
        let files = own_files();
        let own = files[Path::new("/proc/self/exe")];
        assert_eq!(own, AccessFs::Execute | AccessFs::ReadFile);
        let loader = files.iter().filter(|(path, _)| !path.starts_with("/proc"));
        let executed = loader
            .filter(|(_, access)| access.contains(AccessFs::Execute))
            .count();
        assert!(executed <= 1, "the loader's folder alone: {files:?}");
    }
}
