//! Standard descriptors that are closed, or open for another purpose.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Output, Stdio};

use super::{inheriting, run, stderr, trapping_command};
use crate::session::assert_accounted;
use crate::support::completed::{GuestFile, PRINT};
use crate::support::{fixture, pidfd, records, wait_readable};

/// Returns a function that closes the descriptors whose bits are set.
fn closing(which: u8) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || {
        for descriptor in 0..3 {
            if which >> descriptor & 1 == 1 {
                // SAFETY: between fork and exec the number is not used for anything else.
                unsafe { libc::close(descriptor) };
            }
        }
        Ok(())
    }
}

fn is_closed(which: u8, descriptor: i32) -> bool {
    which >> descriptor & 1 == 1
}

/// As [`run`], with a file as stdout. Output to a closed descriptor would show up there if its number was reused.
fn run_into(file: &fs::File, which: u8, args: &[&str]) -> Output {
    let mut command = inheriting(closing(which), args);
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    assert!(wait_readable(&pidfd(child.id()), super::LIMIT));
    child.wait_with_output().unwrap()
}

#[test]
fn records_for_a_closed_stdout_are_an_error_and_nothing_runs() {
    for which in 1..8 {
        let args = ["run", "--results", "-", "--args", "[]", &fixture("noop")];
        let output = run(closing(which), &args);
        if is_closed(which, 1) {
            assert_eq!(output.status.code(), Some(3), "{which:03b}");
            if !is_closed(which, 2) {
                let text = stderr(&output);
                assert!(
                    text.contains("cannot write records to stdout: it is closed"),
                    "{text}"
                );
            }
        } else {
            assert_eq!(output.status.code(), Some(0), "{which:03b}");
            assert_eq!(assert_accounted(&records(&output.stdout), &["ok"])["ok"], 1);
        }
    }
}

#[test]
fn what_is_printed_to_a_closed_stdout_is_an_error_and_goes_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let guest = guest.to_str().unwrap();
    for which in 1..8 {
        let path = folder.path().join(format!("out{which}"));
        let file = fs::File::create(&path).unwrap();
        let output = run_into(&file, which, &["exec", guest]);
        let (code, text) = match is_closed(which, 1) {
            true => (125, ""),
            false => (0, "hello\n"),
        };
        assert_eq!(
            output.status.code(),
            Some(code),
            "{which:03b}: {}",
            stderr(&output)
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{which:03b}");
    }
}

/// Files that mpwasm opens do not get the numbers of closed standard descriptors. Output for a closed stdout is not lost
/// in silence.
#[test]
fn records_in_a_file_are_whole_whatever_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks");
    fs::write(&tasks, "[]\n".repeat(100)).unwrap();
    let prints = GuestFile::wat(&format!(
        r#"(module {PRINT} (data (i32.const 16) "hello\n")
             (func (export "runnable") (result i32)
               (call $print (i32.const 1) (i32.const 16) (i32.const 6))
               (i32.const 0)))"#
    ));
    let noop = fixture("noop");
    let run_tasks = |which: u8, guest: &str| {
        let name = format!("results of {guest} {which}").replace('/', "_");
        let results = folder.path().join(name);
        let (results, tasks) = (results.to_str().unwrap(), tasks.to_str().unwrap());
        let args = ["run", "--results", results, "--tasks", tasks, guest];
        let output = run(closing(which), &args);
        (output, records(&fs::read(results).unwrap()))
    };
    for which in 1..8 {
        let (output, records) = run_tasks(which, &noop);
        assert_eq!(output.status.code(), Some(0), "{which:03b}: {}", stderr(&output));
        assert_eq!(assert_accounted(&records, &["ok"])["ok"], 100);

        let (output, records) = run_tasks(which, prints.path());
        let counts = assert_accounted(&records, &["ok", "cancelled"]);
        if is_closed(which, 1) {
            assert_eq!(output.status.code(), Some(3), "{which:03b}");
            let words = "cannot write what guests print, the run was ended: it is closed";
            assert!(
                is_closed(which, 2) || stderr(&output).contains(words),
                "{}",
                stderr(&output)
            );
        } else {
            assert_eq!(output.status.code(), Some(0), "{which:03b}: {}", stderr(&output));
            assert_eq!(counts["ok"], 100);
            assert_eq!(output.stdout, b"hello\n".repeat(100));
        }
    }
}

#[test]
fn tasks_from_a_closed_stdin_are_an_error() {
    let output = run(
        closing(1),
        &["run", "--results", "-", "--tasks", "-", &fixture("noop")],
    );
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(
        text.contains("cannot read more tasks from standard input"),
        "{text}"
    );
}

/// A stdout that is open only for reading counts as closed.
#[test]
fn records_for_a_stdout_that_is_open_for_reading_are_an_error() {
    let file = fs::File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    let read_only = move || {
        // SAFETY: between fork and exec both numbers are open, and not used otherwise.
        match unsafe { libc::dup2(number, 1) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    let output = run(
        read_only,
        &["run", "--results", "-", "--args", "[]", &fixture("noop")],
    );
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("cannot write records to stdout"), "{text}");
}
