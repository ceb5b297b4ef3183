//! Files that mpwasm trusts or writes are never accessible to guests: which directories are refused for that reason, and
//! that nothing outside of a grant is written.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use serde_json::json;

use crate::completed::{CompletedRun, GuestFile, to_the_end};
use crate::grants::files;
use crate::support::{binary, mpwasm};

/// A command that does nothing.
const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// A folder for everything that mpwasm can be told to trust. Nothing of it exists yet except an executable.
struct Folder {
    dir: tempfile::TempDir,
    command: GuestFile,
}

impl Folder {
    fn new() -> Self {
        let folder = Self {
            dir: tempfile::tempdir().unwrap(),
            command: GuestFile::file("nothing.wat", NOTHING.as_bytes()),
        };
        fs::create_dir(folder.path("work")).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the path as text.
    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    /// Returns `mpwasm run` with the folder `grant` and these options. `{}` is this folder.
    fn run(&self, grant: &str, options: &[&str]) -> Command {
        self.command(&["run", "--dir", grant, self.command.path()], options)
    }

    fn exec(&self, grant: &str, options: &[&str]) -> Command {
        self.command(
            &["exec", "--dir", grant],
            &[options, &[self.command.path()]].concat(),
        )
    }

    fn command(&self, args: &[&str], more: &[&str]) -> Command {
        let mut command = mpwasm();
        let here = self.dir.path().to_str().unwrap();
        command.args(args.iter().chain(more).map(|arg| arg.replace("{}", here)));
        command
    }

    /// Returns all paths in the folder.
    fn listed(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.sort();
        found
    }

    /// Asserts that the command is refused with these words, and has created nothing here.
    #[track_caller]
    fn assert_refused(&self, command: &mut Command, code: i32, words: &[&str]) {
        let before = self.listed();
        let ended = to_the_end(command);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(code), ""),
            "{ended:#?}"
        );
        for word in words {
            assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
        }
        assert_eq!(self.listed(), before);
    }
}

#[track_caller]
fn assert_runs(command: &mut Command) -> CompletedRun {
    let ended = to_the_end(command);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

/// An example of the attack: a task creates a link where the output of the next task will be written.
#[test]
fn no_file_outside_of_a_grant_is_written_through_the_folder_of_results() {
    let folder = Folder::new();
    fs::write(folder.path("victim"), "untouched").unwrap();
    let planted = json!([
        ["mkdir", "d", "results"],
        ["mkdir", "d", "results/1"],
        ["symlink", "../../../victim", "d", "results/1/stdout"],
        ["symlink", "../../../victim", "d", "results/1/record.json"]
    ]);
    let plant = |options: &[&str]| {
        let args = ["run", files(), "--size=1", "--dir", "{}/work::d", "--args"];
        folder.command(&[&args[..], &[&planted.to_string()]].concat(), options)
    };
    let victim = || fs::read_to_string(folder.path("victim")).unwrap();
    folder.assert_refused(
        &mut plant(&["--args", "[]", "--results-dir", "{}/work/results"]),
        2,
        &["contains the folder of --results-dir", ":ro", "another place"],
    );
    // An earlier run has left these files.
    assert_runs(&mut plant(&[]));
    assert!(folder.path("work/results/1/stdout").is_symlink());
    let results = ["--results-dir", "{}/work/results"];
    let tasks = ["run", files(), "--args", "[]", "--args", "[]"];
    let refused = to_the_end(&mut folder.command(&tasks, &results));
    assert_eq!(
        (refused.code, victim().as_str()),
        (Some(2), "untouched"),
        "{refused:#?}"
    );
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    let overwrite = [&results[..], &["--overwrite"]].concat();
    assert_runs(&mut folder.command(&tasks, &overwrite));
    for name in ["stdout", "record.json"] {
        let path = folder.path("work/results/1").join(name);
        assert!(path.is_file() && !path.is_symlink(), "{name}");
    }
    // The folder of a task is a link.
    fs::remove_dir_all(folder.path("work/results/1")).unwrap();
    fs::create_dir(folder.path("elsewhere")).unwrap();
    symlink("../../elsewhere", folder.path("work/results/1")).unwrap();
    let ended = to_the_end(&mut folder.command(&tasks, &overwrite));
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stderr.contains("symbolic link"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(folder.path("elsewhere")).unwrap().count(), 0);
    assert_eq!(victim(), "untouched");
}

#[test]
fn a_directory_with_the_cache_is_refused_wherever_they_meet() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("work/cache/in")).unwrap();
    symlink("../work/cache", folder.path("work/link")).unwrap();
    symlink("work", folder.path("other")).unwrap();
    let words = [
        "the cache of compiled guests",
        ":ro",
        "--no-cache",
        "MPWASM_CACHE_DIR",
    ];
    for (grant, cache, how) in [
        ("{}/work", "work/cache", "contains"),
        ("{}", "work/cache", "contains"),
        ("{}/work", "work/none/yet", "contains"),
        ("{}/work", "other/cache", "contains"),
        ("{}/other", "work/cache", "contains"),
        ("{}/work/cache", "work/cache", "is"),
        ("{}/work/link", "work/cache", "is"),
        ("{}/work/cache/in", "work/cache", "lies in"),
    ] {
        let with_cache = |mut command: Command| {
            command.env("MPWASM_CACHE_DIR", folder.path(cache));
            command
        };
        let (how, place) = (format!("it {how} "), folder.text(cache));
        let words = [&words[..], &[&how, &place]].concat();
        folder.assert_refused(&mut with_cache(folder.run(grant, &[])), 2, &words);
        folder.assert_refused(&mut with_cache(folder.exec(grant, &[])), 125, &words);
        assert_runs(&mut with_cache(folder.run(grant, &["--no-cache"])));
        assert_runs(&mut with_cache(folder.exec(&format!("{grant}:ro"), &[])));
    }
    // The cache is elsewhere, but its path leads through the directory.
    fs::create_dir(folder.path("elsewhere")).unwrap();
    symlink("../elsewhere", folder.path("work/to elsewhere")).unwrap();
    let mut command = folder.run("{}/work", &[]);
    command.env("MPWASM_CACHE_DIR", folder.path("work/to elsewhere/cache"));
    folder.assert_refused(&mut command, 2, &["a link in it that leads to the cache"]);
}

/// A grant, an option with a destination that the grant reaches, and words of the error. `{}` is the folder of the test.
const GRANTS_AND_DESTINATIONS: &[(&str, &str, &str, &str)] = &[
    (
        "{}/work",
        "--results",
        "{}/work/log",
        "contains the file of --results",
    ),
    (
        "{}/work",
        "--results",
        "{}/work/in/log",
        "contains the file of --results",
    ),
    (
        "{}/other",
        "--results",
        "{}/work/in/../log",
        "contains the file of --results",
    ),
    (
        "{}/work",
        "--results",
        "{}/other/log",
        "contains the file of --results",
    ),
    (
        "{}/work",
        "--results-dir",
        "{}/work",
        "is the folder of --results-dir",
    ),
    (
        "{}/work",
        "--results-dir",
        "{}/work/a/b",
        "contains the folder of --results-dir",
    ),
    (
        "{}/results/in",
        "--results-dir",
        "{}/results",
        "lies in the folder of --results-dir",
    ),
    (
        "{}",
        "--results-dir",
        "{}/results",
        "contains the folder of --results-dir",
    ),
];

#[test]
fn a_directory_with_the_records_or_the_results_is_refused() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("results/in")).unwrap();
    fs::create_dir(folder.path("work/in")).unwrap();
    symlink("work", folder.path("other")).unwrap();
    for &(grant, option, path, words) in GRANTS_AND_DESTINATIONS {
        let options = [option, path];
        let words = [words, ":ro", "another place"];
        folder.assert_refused(&mut folder.run(grant, &options), 2, &words);
        assert_runs(&mut folder.run(&format!("{grant}:ro"), &[option, path, "--overwrite"]));
        fs::remove_dir_all(folder.path("work/a")).unwrap_or_default();
    }
    // Side by side they are allowed.
    assert_runs(&mut folder.run("{}/work/in", &["--results", "{}/work/log", "--overwrite"]));
    // The file may have a second name in the directory.
    fs::hard_link(folder.path("work/log"), folder.path("work/in/second name")).unwrap();
    let linked = ["--results", "{}/work/log", "--overwrite"];
    folder.assert_refused(&mut folder.run("{}/work/in", &linked), 2, &["hard links"]);
    assert_runs(&mut folder.run("{}/work/in:ro", &linked));
}

#[test]
fn a_directory_with_mpwasm_itself_is_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.path("bin")).unwrap();
    let installed = folder.path("bin/mpwasm");
    // Another program makes the copy: see `granting.rs`.
    let copied = Command::new("install")
        .args(["-m", "755"])
        .arg(binary())
        .arg(&installed)
        .status();
    assert!(copied.unwrap().success());
    symlink("../bin/mpwasm", folder.path("work/mpwasm")).unwrap();
    let own = |program: &Path, grant: &str| {
        let mut command = Command::new(program);
        command
            .args(["exec", "--no-cache", "--dir"])
            .arg(folder.text(grant));
        command.arg(folder.command.path());
        command
    };
    let words = ["mpwasm's own executable", &folder.text("bin/mpwasm"), ":ro"];
    folder.assert_refused(&mut own(&installed, "bin"), 125, &words);
    folder.assert_refused(&mut own(&installed, ""), 125, &words);
    folder.assert_refused(&mut own(&folder.path("work/mpwasm"), "bin"), 125, &words);
    folder.assert_refused(
        &mut own(&folder.path("work/mpwasm"), "work"),
        125,
        &["a link in it that leads to mpwasm's own executable"],
    );
    assert_runs(&mut own(&installed, "bin:ro"));
    assert_runs(&mut own(&installed, "work"));
    // A guest's own file may be in a writable directory, as it has been read already.
    let guest = folder.path("work/guest.wat");
    fs::write(&guest, NOTHING).unwrap();
    assert_runs(mpwasm().args(["run", "--dir", &folder.text("work")]).arg(guest));
}

/// Makes `command` run where `from` is also mounted on `to`.
fn bound(command: &mut Command, from: PathBuf, to: PathBuf) {
    let bind = move || -> io::Result<()> {
        let has_root = nix::unistd::geteuid().is_root();
        unshare(match has_root {
            true => CloneFlags::CLONE_NEWNS,
            false => CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER,
        })?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(mount_bind(&from, &to)?)
    };
    // SAFETY: the child has one thread, and makes system calls.
    unsafe { command.pre_exec(bind) };
}

#[test]
fn a_bind_mount_hides_nothing() {
    let folder = Folder::new();
    for name in ["data/cache/in", "mounted", "work/mounted"] {
        fs::create_dir_all(folder.path(name)).unwrap();
    }
    let cache_at = |grant: &str, cache: &str, from: &str, to: &str| {
        let mut command = folder.run(grant, &[]);
        command.env("MPWASM_CACHE_DIR", folder.path(cache));
        bound(&mut command, folder.path(from), folder.path(to));
        command
    };
    // A machine on which ordinary users may not mount anything has no such mounts.
    if cache_at("{}/work:ro", "data/cache", "data", "mounted")
        .output()
        .is_err()
    {
        assert!(!nix::unistd::geteuid().is_root());
        return;
    }
    for (grant, cache, from, to, how) in [
        // The directory is named by its second path.
        ("{}/mounted", "data/cache", "data", "mounted", "contains"),
        ("{}/mounted", "data/cache", "data/cache", "mounted", "is"),
        ("{}/mounted", "data/cache", "data/cache/in", "mounted", "lies in"),
        // So is the cache.
        ("{}/data", "mounted/cache", "data", "mounted", "contains"),
        ("{}/data", "mounted", "data/cache", "mounted", "contains"),
        // It is mounted within the directory.
        ("{}/work", "data/cache", "data", "work/mounted", "contains"),
        ("{}/work", "data/cache", "data/cache", "work/mounted", "contains"),
        (
            "{}/work",
            "data/cache",
            "data/cache/in",
            "work/mounted",
            "lies in",
        ),
    ] {
        let words = [how, "the cache of compiled guests"];
        folder.assert_refused(&mut cache_at(grant, cache, from, to), 2, &words);
    }
}

/// Creates a crate, a `cargo` that prints where it builds and records when it is to build, and a `rustc` that prints its
/// sysroot.
fn with_crate(folder: &Folder) -> [PathBuf; 2] {
    fs::create_dir_all(folder.path("krate/src")).unwrap();
    fs::write(folder.path("krate/Cargo.toml"), "[package]\nname = \"krate\"\n").unwrap();
    for name in [
        "target",
        "beside",
        "home",
        "sysroot/lib/rustlib/wasm32-wasip1/lib",
    ] {
        fs::create_dir_all(folder.path(name)).unwrap();
    }
    let metadata = json!({
        "packages": [
            {"manifest_path": folder.path("krate/Cargo.toml"), "source": null},
            {"manifest_path": folder.path("beside/Cargo.toml"), "source": null},
            {"manifest_path": folder.path("home/registry/x/Cargo.toml"), "source": "registry+https://x"},
        ],
        "workspace_root": folder.path("krate"),
        "target_directory": folder.path("target"),
    });
    fs::write(folder.path("metadata"), metadata.to_string()).unwrap();
    let here = folder.dir.path().display();
    let cargo = format!("case $1 in build) : > '{here}/built';; metadata) cat '{here}/metadata';; esac");
    let rustc = format!("echo '{here}/sysroot'");
    [("cargo", cargo), ("rustc", rustc)].map(|(name, script)| {
        let path = folder.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

/// Build scripts and macros are native code, and so are those that an earlier build has left.
#[test]
fn a_directory_with_what_a_build_reads_is_refused_before_cargo_builds() {
    let folder = Folder::new();
    let [cargo, rustc] = with_crate(&folder);
    symlink("krate", folder.path("link")).unwrap();
    let build = |grant: &str, krate: &str| {
        let mut command = folder.command(&["run", "--dir", grant, krate], &[]);
        command.env("CARGO", &cargo).env("RUSTC", &rustc);
        command.env("CARGO_HOME", folder.path("home"));
        command
    };
    for (grant, words) in [
        ("{}/krate", "is the crate to be built"),
        ("{}/krate/src", "lies in the crate to be built"),
        ("{}", "contains the crate to be built"),
        ("{}/link", "is the crate to be built"),
        ("{}/target", "is the folder that cargo builds into"),
        ("{}/beside", "is a crate that the build reads"),
        ("{}/sysroot", "is the compiler's folder"),
        ("{}/home", "is a folder of cargo's or rustup's own"),
    ] {
        for krate in ["{}/krate", "{}/link#model"] {
            folder.assert_refused(&mut build(grant, krate), 2, &[words, ":ro", "mpwasm build"]);
        }
    }
    assert!(!folder.path("built").exists());
    for grant in ["{}/krate:ro", "{}/work"] {
        let built = to_the_end(&mut build(grant, "{}/krate"));
        assert!(!built.stderr.contains("can't be granted"), "{built:#?}");
        fs::remove_file(folder.path("built")).unwrap();
    }
}
