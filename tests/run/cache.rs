//! The cache of compiled guests: when the compiler runs, and which files are left on disk.
//!
//! The tests detect compilation without a clock: no compilation ends within `--compile-timeout 1ns`, so a run with that
//! option succeeds only if nothing is compiled.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::completed::{CompletedRun, GuestFile, starts_and_spins, to_the_end};
use crate::support::{mpwasm, until};

/// A timeout with which no compilation succeeds.
const DO_NOT_COMPILE: [&str; 2] = ["--compile-timeout", "1ns"];

/// Returns a guest whose unnamed model returns 42. Its memory has four pages.
fn answer() -> GuestFile {
    GuestFile::wat(
        r#"(module (import "mpwasm_v1" "output_write" (func $out (param i32 i32)))
            (memory (export "memory") 4) (data (i32.const 0) "42")
            (func (export "runnable") (result i32) (call $out (i32.const 0) (i32.const 2)) (i32.const 0)))"#,
    )
}

/// A separate cache, in a directory that does not exist yet.
struct Cache {
    _dir: TempDir,
    path: PathBuf,
}

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        Self { _dir: dir, path }
    }

    /// Runs `mpwasm ARGS...` with this cache.
    fn mpwasm(&self, args: &[&str]) -> CompletedRun {
        to_the_end(mpwasm().env("MPWASM_CACHE_DIR", &self.path).args(args))
    }

    /// Runs one task of the guest, with the records on stdout.
    fn run(&self, guest: &GuestFile, options: &[&str]) -> CompletedRun {
        let task = [
            "run",
            guest.path(),
            "--size",
            "1",
            "--args",
            "[]",
            "--results",
            "-",
        ];
        self.mpwasm(&[&task, options].concat())
    }

    /// Returns the files of the entries.
    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.path).into_iter().flatten();
        let files = files.map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension() != Some("seen".as_ref()))
            .collect()
    }

    /// Returns the file of the only entry.
    fn entry(&self) -> PathBuf {
        let mut entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }
}

/// Runs the guest until it is loaded without being read, which takes a second: no shortcut leads from or to a file that has
/// just changed.
fn run_by_shortcut(cache: &Cache, guest: &GuestFile) {
    until(|| {
        let ended = cache.run(guest, &["-vv"]);
        assert_answered(&ended);
        ended
            .stderr
            .contains("taken from the cache, without reading it")
            .then_some(())
    });
}

#[test]
fn a_guest_that_has_not_changed_is_loaded_without_being_read() {
    let (cache, guest) = (Cache::new(), answer());
    run_by_shortcut(&cache, &guest);
    // A change is noticed, of the guest and of the entry.
    let text = fs::read_to_string(guest.path()).unwrap();
    fs::write(guest.path(), text.replace("\"42\"", "\"43\"")).unwrap();
    assert!(cache.run(&guest, &[]).stdout.contains("\"result\":43"));
    fs::write(guest.path(), text).unwrap();
    run_by_shortcut(&cache, &guest);
    for entry in cache.entries() {
        let mut bytes = fs::read(&entry).unwrap();
        bytes.fill(0xa5);
        fs::write(&entry, bytes).unwrap();
    }
    assert_answered(&cache.run(&guest, &[]));
    run_by_shortcut(&cache, &guest);
    fs::remove_file(cache.entries().remove(0)).unwrap();
    assert_answered(&cache.run(&guest, &[]));
}

#[track_caller]
fn assert_answered(ended: &CompletedRun) {
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains(r#""result":42"#), "{ended:#?}");
}

/// Asserts that the run had to compile, and could not.
#[track_caller]
fn assert_compiled(ended: &CompletedRun) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
    assert!(ended.stderr.contains("it takes longer than 1ns"), "{ended:#?}");
}

#[test]
fn a_guest_is_compiled_once() {
    let (cache, guest) = (Cache::new(), answer());
    assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));
    let first = cache.run(&guest, &["-vv"]);
    assert_answered(&first);
    assert!(
        first.stderr.contains("guest.wat: compiled in"),
        "{}",
        first.stderr
    );
    assert_eq!(
        fs::metadata(&cache.path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let second = cache.run(&guest, &[&DO_NOT_COMPILE[..], &["-vv"]].concat());
    assert_answered(&second);
    assert!(
        second.stderr.contains("guest.wat: taken from the cache"),
        "{}",
        second.stderr
    );
}

#[test]
fn it_is_the_guests_bytes_that_count_and_not_its_name() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    let copy = GuestFile::file("copy.wasm", &fs::read(guest.path()).unwrap());
    assert_answered(&cache.run(&copy, &DO_NOT_COMPILE));
    let text = fs::read_to_string(guest.path()).unwrap() + " ;; another";
    fs::write(guest.path(), text).unwrap();
    assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));
}

#[test]
fn without_the_cache_nothing_is_read_from_it_and_nothing_written() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &["--no-cache"]));
    assert!(!cache.path.exists());
    assert_answered(&cache.run(&guest, &[]));
    assert_compiled(&cache.run(&guest, &[&DO_NOT_COMPILE[..], &["--no-cache"]].concat()));
}

#[test]
fn one_entry_serves_all_limits_and_is_compared_with_them() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    for limit in [
        ["--memory", "256KiB"],
        ["--memory", "1GiB"],
        ["--max-result", "1KiB"],
    ] {
        assert_answered(&cache.run(&guest, &[DO_NOT_COMPILE, limit].concat()));
    }
    let too_large = cache.run(&guest, &[DO_NOT_COMPILE, ["--memory", "64KiB"]].concat());
    assert_eq!(too_large.code, Some(2), "{too_large:#?}");
    let why = "the initial memory of 262144 bytes is above the cap of 65536 bytes";
    assert!(too_large.stderr.contains(why), "{too_large:#?}");
    assert_answered(&cache.run(&guest, &DO_NOT_COMPILE));
    assert_eq!(cache.entries().len(), 1);
}

#[test]
fn settings_that_change_the_code_have_an_entry_of_their_own() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    assert_answered(&cache.run(&guest, &["--fuel", "1000"]));
    assert_answered(&cache.run(&guest, &[&DO_NOT_COMPILE[..], &["--fuel", "2000"]].concat()));
    let used_up = cache.run(&guest, &["--fuel", "1"]);
    assert!(used_up.stdout.contains(r#""status":"fuel""#), "{used_up:#?}");
    assert_answered(&cache.run(&guest, &[&DO_NOT_COMPILE[..], &["--max-output", "1KiB"]].concat()));
    assert_eq!(cache.entries().len(), 2);
    assert_answered(&cache.run(&guest, &["--interrupt", "kill"]));
    assert_answered(&cache.run(&guest, &[&DO_NOT_COMPILE[..], &["--interrupt", "kill"]].concat()));
    assert_eq!(cache.entries().len(), 3, "code without checks");
    let another = fs::read_to_string(guest.path()).unwrap() + " ;; another";
    fs::write(guest.path(), another).unwrap();
    let refused = cache.run(&guest, &["--memory", "64KiB"]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert_eq!(cache.entries().len(), 3, "what is refused is not kept");
}

#[test]
fn an_entry_that_is_damaged_is_compiled_anew() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    let path = cache.entry();
    let whole = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let damaged = [
        flipped(0),
        flipped(20),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], b"more"].concat(),
        b"something else".to_vec(),
        Vec::new(),
    ];
    for bytes in damaged {
        fs::write(&path, bytes).unwrap();
        assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));
        assert_answered(&cache.run(&guest, &[]));
        assert_answered(&cache.run(&guest, &DO_NOT_COMPILE));
    }
}

#[test]
fn an_entry_that_others_could_have_written_is_compiled_anew() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    fs::set_permissions(cache.entry(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));
    assert_answered(&cache.run(&guest, &[]));
    assert_answered(&cache.run(&guest, &DO_NOT_COMPILE));

    fs::set_permissions(&cache.path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));
    let ended = cache.run(&guest, &[]);
    assert_answered(&ended);
    assert_eq!(
        ended.stderr.matches("mode should be 700").count(),
        1,
        "{ended:#?}"
    );
}

#[test]
fn a_cache_that_can_not_be_written_is_said_once_and_fails_nothing() {
    let (mut cache, guest) = (Cache::new(), answer());
    let file = GuestFile::file("file", b"");
    cache.path = Path::new(file.path()).join("cache");
    let ended = cache.run(&guest, &[]);
    assert_answered(&ended);
    let warnings: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("mpwasm: warning: "))
        .collect();
    assert_eq!(warnings.len(), 1, "{ended:#?}");
    assert!(warnings[0].contains("the cache"), "{ended:#?}");
}

#[test]
fn without_any_directory_for_it_there_is_no_cache() {
    let guest = answer();
    // The home directory does not exist and can't be created.
    let mut command = mpwasm();
    command.env_remove("XDG_CACHE_HOME").env("HOME", "/dev/null/home");
    command.args(["run", guest.path(), "--args", "[]", "--results", "-"]);
    let ended = to_the_end(&mut command);
    assert_answered(&ended);
    assert!(!ended.stderr.contains("cache"), "nobody asked for it: {ended:#?}");
}

#[test]
fn a_full_cache_makes_room() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    let name = |digit: &str| cache.path.join(format!("{}.guest", digit.repeat(64)));
    // Sparse files, which only look large.
    for (path, hours) in [(name("a"), 3), (name("b"), 2)] {
        let file = File::create(&path).unwrap();
        file.set_len(255 << 20).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600))
            .unwrap();
    }
    let last = name("c");
    File::create(&last).unwrap().set_len(3 << 20).unwrap();
    assert_answered(&cache.run(&guest, &["--fuel", "1000"]));
    assert!(!name("a").exists(), "it was used longest ago");
    assert!(name("b").exists() && last.exists());
    assert_answered(&cache.run(&guest, &DO_NOT_COMPILE));
    assert_answered(&cache.run(&guest, &[&DO_NOT_COMPILE[..], &["--fuel", "1000"]].concat()));
}

#[test]
fn stats_count_what_clear_removes() {
    let (cache, guest) = (Cache::new(), answer());
    let stats = cache.mpwasm(&["cache", "stats"]);
    assert_eq!(stats.code, Some(0), "{stats:#?}");
    let path = cache.path.to_str().unwrap();
    assert!(
        stats.stdout.contains(path) && stats.stdout.contains("guests    0\n"),
        "{stats:#?}"
    );
    assert!(!cache.path.exists(), "to look makes nothing");
    assert_answered(&cache.run(&guest, &[]));
    assert_answered(&cache.run(&guest, &["--fuel", "1000"]));
    let stats = cache.mpwasm(&["cache", "stats"]);
    assert!(stats.stdout.contains("guests    2\n"), "{stats:#?}");
    assert!(stats.stdout.contains("of at most 512.0 MiB\n"), "{stats:#?}");

    let cleared = cache.mpwasm(&["cache", "clear"]);
    assert_eq!(cleared.code, Some(0), "{cleared:#?}");
    assert!(cleared.stdout.starts_with("removed 2 guests, "), "{cleared:#?}");
    assert!(cache.entries().is_empty());
    assert_compiled(&cache.run(&guest, &DO_NOT_COMPILE));

    fs::set_permissions(&cache.path, fs::Permissions::from_mode(0o755)).unwrap();
    for command in ["stats", "clear"] {
        let refused = cache.mpwasm(&["cache", command]);
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (Some(2), ""),
            "{refused:#?}"
        );
        assert!(refused.stderr.contains("mode should be 700"), "{refused:#?}");
    }
}

#[test]
fn runs_that_compile_the_same_guest_at_the_same_time_do_not_disturb_each_other() {
    let (cache, guest) = (Cache::new(), answer());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_answered(&cache.run(&guest, &[])));
        }
    });
    assert!(fs::metadata(cache.entry()).unwrap().len() > 0);
    assert_answered(&cache.run(&guest, &DO_NOT_COMPILE));
}

#[test]
fn inspect_has_a_time_limit_and_no_cache() {
    let (cache, guest) = (Cache::new(), answer());
    assert_answered(&cache.run(&guest, &[]));
    let refused = cache.mpwasm(&["inspect", guest.path(), "--compile-timeout", "1ns"]);
    assert_compiled(&refused);
    let shown = cache.mpwasm(&["inspect", guest.path()]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
}

/// The parent may be any program, so computing the key must not install the engine's signal handlers in it.
#[test]
fn the_parent_has_no_handlers_of_an_engine() {
    let (cache, guest) = (Cache::new(), starts_and_spins());
    let mut command = mpwasm();
    command.env("MPWASM_CACHE_DIR", &cache.path).args([
        "run",
        guest.path(),
        "--timeout",
        "60s",
        "--args",
        "[]",
    ]);
    let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stdout = run.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", run.id()));
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(line, "started\n");
    cache.entry();
    let status = status.unwrap();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    for signal in [Signal::SIGILL, Signal::SIGFPE] {
        assert_eq!(caught & 1 << (signal as i32 - 1), 0, "{signal} in {caught:x}");
    }
}
