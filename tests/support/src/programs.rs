//! Paths and commands of the programs under test: the binary, the attackers, the guests, and kernels that refuse a system
//! call.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::processes::pidfd;
use crate::waiting::wait_readable;

/// Returns the path of the binary under test, which cargo builds for the tests of `mpwasm-cli`. `MPWASM_TEST_BINARY`
/// names another: CI also runs the tests as a user who can't read this one.
pub fn binary() -> PathBuf {
    std::env::var_os("MPWASM_TEST_BINARY").map_or_else(|| built_beside_the_tests("mpwasm"), PathBuf::from)
}

/// Returns the path of a program that cargo has built for the test programs: `../NAME` from the folder of the test
/// program.
fn built_beside_the_tests(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// Returns a command that runs the binary under test. It uses no cache of compiled guests: the user's own is not touched,
/// and a second run of a test is like the first. A test that needs a cache names it in `MPWASM_CACHE_DIR`. SIGHUP has its
/// default action, even if `nohup` runs the tests.
pub fn mpwasm() -> Command {
    like_mpwasm(&binary())
}

/// As [`mpwasm()`], for another program with its command line.
pub fn like_mpwasm(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("MPWASM_CACHE_DIR")
        .env("XDG_CACHE_HOME", "/dev/null/no-cache");
    let heeds_hangup = || {
        // SAFETY: the default action runs no code of this process.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: a system call, which is safe between fork and exec.
    unsafe { command.pre_exec(heeds_hangup) };
    command
}

/// Copies the tests' attacker into `folder` under a name that selects its behaviour (`tests/programs/attacker`). It is a
/// copy because a link would lead to the file's own name. In some tests the attackers run it as another user.
pub fn attacker(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    copy_program(&built_beside_the_tests("examples/attacker"), &path);
    path
}

/// Copies a program into `folder`, where every user can execute it.
pub fn copy_for_others(program: &Path, folder: &Path) -> PathBuf {
    let path = folder.join("mpwasm");
    copy_program(program, &path);
    path
}

/// Copies a program, and lets every user enter the folder of the copy.
fn copy_program(from: &Path, to: &Path) {
    // Another program makes the copy. While this process had the copy open for writing, a child of another test could
    // inherit the descriptor, and the copy could not be executed.
    let status = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    let folder = to.parent().expect("it is a path of a file in a folder");
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Makes the command run as on a kernel without Landlock.
pub fn without_landlock(command: &mut Command) {
    refusing(command, libc::SYS_landlock_create_ruleset, libc::ENOSYS);
}

/// Makes `command` run as on a kernel that fails this system call with this error.
pub fn refusing(command: &mut Command, call: libc::c_long, errno: i32) {
    refusing_some(command, call, Vec::new(), errno);
}

/// As [`refusing`], for calls whose arguments match one of the rules.
pub fn refusing_some(
    command: &mut Command,
    call: libc::c_long,
    rules: Vec<seccompiler::SeccompRule>,
    errno: i32,
) {
    let filter = seccompiler::SeccompFilter::new(
        [(call, rules)].into(),
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let apply = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
    // SAFETY: it makes two system calls, and allocates only if they fail.
    unsafe { command.pre_exec(apply) };
}

/// Returns the guest in `guests/NAME`, built once per test binary in the way that users build theirs.
pub fn guest(name: &'static str) -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    static PUSHER: OnceLock<PathBuf> = OnceLock::new();
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    static SHARING: OnceLock<PathBuf> = OnceLock::new();
    let cell = match name {
        "demo" => &DEMO,
        "fixture" => &FIXTURE,
        "pusher" => &PUSHER,
        "files" => &FILES,
        "programs" => &PROGRAMS,
        "sharing" => &SHARING,
        _ => panic!("there is no guest {name}"),
    };
    cell.get_or_init(|| {
        // Prebuilt for a user who can't build: see `.ci/run`.
        if let Some(built) = std::env::var_os("MPWASM_TEST_GUESTS") {
            return PathBuf::from(built).join(name).with_extension("wasm");
        }
        let output = mpwasm()
            .args(["build"])
            .arg(repository().join("guests").join(name))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// Returns the fixture's model NAME, as `mpwasm run` takes it.
pub fn fixture(model: &str) -> String {
    format!("{}#{model}", guest("fixture").display())
}

/// Returns the root folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Creates an executable script. Another process writes it: while this one had it open for writing, a child of another
/// test could inherit the descriptor, and the script could not be executed.
pub fn script(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("script");
    let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\" && chmod 755 \"${2%/*}\"";
    let status = Command::new("/bin/sh")
        .args(["-c", write, "sh", text])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    path
}

/// Runs a command to its end. Panics when that takes longer than `limit`.
pub fn run_within(limit: Duration, command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = pidfd(child.id());
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    assert!(wait_readable(&end, limit), "it took longer than {limit:?}");
    reader.join().unwrap()
}
