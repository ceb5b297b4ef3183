//! Signals that are blocked or ignored when mpwasm starts.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

use super::{LIMIT, Legacy, inheriting, run, stderr, trapping_command};
use crate::session::{HANGS, Session, assert_accounted, wait_until_busy, within};
use crate::support::{fixture, records, send, until};

/// Blocks all signals that can be blocked.
fn all_blocked() -> std::io::Result<()> {
    Ok(SigSet::all().thread_block()?)
}

/// Ignores all signals that can be ignored.
fn all_ignored() -> std::io::Result<()> {
    for which in Signal::iterator() {
        if !matches!(which, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: ignoring a signal runs no code of this process.
            unsafe { signal(which, SigHandler::SigIgn) }?;
        }
    }
    Ok(())
}

const HOSTILE: [Legacy; 2] = [all_blocked, all_ignored];

/// Starts a run with one worker and one task that does not end by itself, after calling this function.
fn start_spinning(legacy: Legacy) -> Session {
    let run = "--results - --size 1 --timeout 1h --args [] ";
    let guest = fixture("spin");
    let args: Vec<_> = run.split_whitespace().chain([guest.as_str()]).collect();
    Session::start_inheriting(legacy, &args)
}

#[test]
fn a_trap_is_a_trap_whatever_signals_are_blocked_or_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let guest = guest.to_str().unwrap();
    for legacy in HOSTILE {
        let args = ["d", "o", "u", "r"].map(|way| format!("[\"{way}\"]"));
        let args = args.iter().flat_map(|args| ["--args", args]);
        let args: Vec<_> = ["run", "--results", "-", guest].into_iter().chain(args).collect();
        let output = run(legacy, &args);
        let records = records(&output.stdout);
        assert_eq!(assert_accounted(&records, &["trap"])["trap"], 4, "{records:?}");
        assert_eq!(output.status.code(), Some(1));
        for way in ["d", "o", "u", "r"] {
            let output = run(legacy, &["exec", guest, way]);
            assert_eq!(output.status.code(), Some(134), "{way}: {}", stderr(&output));
        }
    }
}

#[test]
fn sigint_and_sigterm_end_a_run_that_was_started_with_all_signals_blocked_or_ignored() {
    for legacy in HOSTILE {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut run = start_spinning(legacy);
            let stdout = run.read();
            wait_until_busy(&run.workers(1));
            run.signal(signal);
            run.stderr.wait_for_text("a second signal kills all");
            run.signal(signal);
            let ended = run.finish_killed(stdout, within(HANGS));
            ended.assert_code(code);
            assert_eq!(assert_accounted(&ended.records(), &["cancelled"])["cancelled"], 1);
        }
    }
}

#[test]
fn sigterm_ends_a_command_that_was_started_with_all_signals_blocked_or_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("spin.wat");
    fs::write(
        &guest,
        r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#,
    )
    .unwrap();
    for legacy in HOSTILE {
        let mut child = inheriting(legacy, &["exec", "--timeout", "1h", guest.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let worker = until(|| {
            let all = crate::support::descendants(child.id());
            all.into_iter()
                .find(|&pid| crate::support::role(pid).as_deref() == Some("worker"))
        });
        wait_until_busy(&[worker]);
        send(child.id(), Signal::SIGTERM);
        assert!(crate::support::wait_readable(
            &crate::support::pidfd(child.id()),
            LIMIT
        ));
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
}

/// The exit status of a worker or dispatcher is known even if the starter of mpwasm ignored SIGCHLD, which makes the
/// kernel reap children.
#[test]
fn a_process_that_is_killed_is_a_crash_that_names_the_signal_when_sigchld_was_ignored() {
    for (is_worker, code, words) in [
        (true, 1, "its worker was ended by SIGUSR1"),
        (false, 3, "the dispatcher died: SIGUSR1"),
    ] {
        let mut run = start_spinning(all_ignored);
        let stdout = run.read();
        let worker = run.workers(1)[0];
        wait_until_busy(&[worker]);
        let victim = match is_worker {
            true => worker,
            false => run.one("dispatcher"),
        };
        send(victim, Signal::SIGUSR1);
        let ended = match is_worker {
            true => run.finish(stdout, HANGS),
            false => run.finish_killed(stdout, HANGS),
        };
        ended.assert_code(code);
        let records = ended.records();
        assert_eq!(records[0]["status"], "crash", "{records:?}");
        assert_eq!(records[0]["error"]["message"], words, "{records:?}");
        if is_worker {
            assert_eq!(records[0]["error"]["signal"], 10, "{records:?}");
        }
    }
}

/// The signal state with which children start: none is blocked, and only SIGPIPE is ignored.
#[test]
fn no_process_of_the_pool_has_a_blocked_signal_or_an_ignored_one_but_those_of_writes() {
    for legacy in HOSTILE {
        let mut run = start_spinning(legacy);
        let stdout = run.read();
        let worker = run.workers(1)[0];
        wait_until_busy(&[worker]);
        for pid in [run.one("dispatcher"), worker] {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let mask = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
            };
            let of = |signal: Signal| 1_u64 << (signal as u64 - 1);
            assert_eq!(mask("SigBlk:"), 0, "{status}");
            let ignored = of(Signal::SIGPIPE) | of(Signal::SIGXFSZ);
            // Numbers above 31 are real-time signals, which are not used.
            assert_eq!(mask("SigIgn:") & 0x7fff_ffff, ignored, "{status}");
        }
        run.signal(Signal::SIGTERM);
        run.stderr.wait_for_text("a second signal kills all");
        run.signal(Signal::SIGTERM);
        run.finish_killed(stdout, within(HANGS)).assert_code(143);
    }
}
