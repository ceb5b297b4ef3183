//! The result of a command: its streams and exit code become the task's result, or the data of its failure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::output::CapturedOutput;
use crate::state::InstanceState;
use mpwasm_types::outcome::{Failure, Kind};

/// The JSON form of a result, or of a failure's data.
#[derive(Serialize)]
struct Streams<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_base64: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_base64: Option<Cow<'a, str>>,
}

impl<'a> Streams<'a> {
    /// Creates the JSON form of these streams. If they are `truncated`, a character that was cut in two is removed.
    fn new(exit_code: Option<i32>, captured: &'a CapturedOutput, truncated: bool) -> Self {
        let (stdout, stdout_base64) = text_or_base64(&captured.stdout, truncated);
        let (stderr, stderr_base64) = text_or_base64(&captured.stderr, truncated);
        Self {
            exit_code,
            stdout,
            stdout_base64,
            stderr,
            stderr_base64,
        }
    }
}

fn text_or_base64(bytes: &[u8], truncated: bool) -> (Option<&str>, Option<Cow<'_, str>>) {
    let text = match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if truncated && error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => (Some(text), None),
        None => (None, Some(STANDARD.encode(bytes).into())),
    }
}

/// Returns the result of a command whose `_start` returned or failed. Exit code 0 counts as a return.
pub(crate) fn result(done: Result<(), Failure>, state: &InstanceState) -> Result<String, Failure> {
    let max = state.max_result;
    if !state.captures() {
        return printed(done);
    }
    let json = |exit_code| {
        let captured = state.printed.captured();
        // The JSON is at least as large as the streams, so do not write it if they do not fit.
        if (captured.stdout.len() + captured.stderr.len()) as u64 > max {
            return None;
        }
        let streams = Streams::new(exit_code, &captured, state.printed.truncated());
        let json = serde_json::to_string(&streams).expect("text and a number can be written as JSON");
        (json.len() as u64 <= max).then_some(json)
    };
    let failure = match done {
        Err(failure) if !is_success(&failure) => failure,
        _ => {
            return json(Some(0)).ok_or_else(|| {
                let message = format!("the result is larger than the limit of {max} bytes");
                Failure::new(Kind::Limit, message)
            });
        }
    };
    let data = json(failure.code);
    Err(Failure {
        data,
        ..named(failure)
    })
}

/// Returns the result of a command whose streams were not captured.
fn printed(done: Result<(), Failure>) -> Result<String, Failure> {
    match done {
        Err(failure) if !is_success(&failure) => Err(named(failure)),
        _ => Ok(r#"{"exit_code":0}"#.into()),
    }
}

fn is_success(failure: &Failure) -> bool {
    failure.kind == Kind::Exit && failure.code == Some(0)
}

/// Returns the failure with the exit code as its message, if it has one.
fn named(failure: Failure) -> Failure {
    match failure.code {
        Some(code) => Failure {
            message: format!("exit code {code}"),
            ..failure
        },
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rig, command, ended, invocation, settings};
    use crate::{CallReport, EngineRole};
    use mpwasm_types::engine_settings::EngineSettings;

    /// Runs a command whose `_start` does `body`, with two arguments and five bytes of stdin.
    fn run(body: &str) -> (CallReport, Rig) {
        let mut rig = Rig::new(&command(body));
        let report = rig.command(&invocation(&["one", "two"], b"stdin"));
        (report, rig)
    }

    /// Writes `text` to `fd`.
    fn write(fd: u32, text: &str) -> String {
        let stores: String = text
            .bytes()
            .enumerate()
            .map(|(at, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", 64 + at))
            .collect();
        format!(
            "{stores} (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {}))
             (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))",
            text.len()
        )
    }

    #[test]
    fn both_streams_and_the_exit_code_are_the_result_and_nothing_is_printed() {
        let body = write(1, "to \"out\"\n") + &write(2, "to err");
        for end in ["", "(call $proc_exit (i32.const 0))"] {
            let (report, rig) = run(&format!("{body}{end}"));
            assert_eq!(
                report.result.as_deref(),
                Ok(r#"{"exit_code":0,"stdout":"to \"out\"\n","stderr":"to err"}"#)
            );
            assert_eq!((report.stdout_bytes, report.output_truncated), (9, false));
            assert!(rig.prints.stdout().is_empty() && rig.prints.stderr().is_empty());
        }
    }

    #[test]
    fn another_exit_code_is_a_failure_that_keeps_the_streams() {
        let (report, _) = run(&(write(2, "no such file") + "(call $proc_exit (i32.const 3))"));
        let failure = ended(Kind::Exit, report);
        assert_eq!((failure.code, failure.message.as_str()), (Some(3), "exit code 3"));
        assert_eq!(
            failure.data.as_deref(),
            Some(r#"{"exit_code":3,"stdout":"","stderr":"no such file"}"#)
        );
    }

    #[test]
    fn so_is_a_trap() {
        let (report, _) = run(&(write(2, "panicked") + "unreachable"));
        let failure = ended(Kind::Trap, report);
        assert!(failure.message.starts_with("trap in `_start`: "), "{failure:?}");
        assert_eq!(
            failure.data.as_deref(),
            Some(r#"{"stdout":"","stderr":"panicked"}"#)
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_written_as_base64() {
        let (report, _) = run("(i32.store8 (i32.const 64) (i32.const 255))
             (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 3))
             (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))");
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout_base64":"/wAA","stderr":""}"#)
        );
    }

    #[test]
    fn what_is_cut_at_the_cap_is_flagged_and_stays_text() {
        let settings = EngineSettings {
            max_output: 3,
            ..settings()
        };
        let mut rig = Rig::with(EngineRole::Worker, &settings, &command(&write(1, "aä€")));
        let report = rig.command(&invocation(&[], b""));
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout":"aä","stderr":""}"#)
        );
        assert!(report.output_truncated);
        let mut rig = Rig::with(EngineRole::Worker, &settings, &command(&write(1, "aa€")));
        let report = rig.command(&invocation(&[], b""));
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout":"aa","stderr":""}"#)
        );
    }

    #[test]
    fn streams_that_are_no_result_any_more_are_a_limit_and_a_failure_does_without() {
        let settings = EngineSettings {
            max_result: 40,
            ..settings()
        };
        let run = |body: &str| {
            Rig::with(EngineRole::Worker, &settings, &command(body)).command(&invocation(&[], b""))
        };
        ended(Kind::Limit, run(&write(1, "twenty bytes or more")));
        ended(Kind::Limit, run(&write(1, &"x".repeat(50))));
        let failure = ended(Kind::Trap, run(&(write(1, &"x".repeat(50)) + "unreachable")));
        assert_eq!(failure.data, None);
    }

    #[test]
    fn a_command_sees_its_arguments() {
        // Prints the buffer of all arguments, each followed by a zero byte.
        let (report, _) = run("(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
             (drop (call $args_get (i32.const 128) (i32.const 256)))
             (i32.store (i32.const 8) (i32.const 256)) (i32.store (i32.const 12) (i32.load (i32.const 4)))
             (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))");
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout":"guest.wasm\u0000one\u0000two\u0000","stderr":""}"#)
        );
    }

    #[test]
    fn a_command_reads_its_stdin_to_the_end() {
        // Reads three bytes at a time and writes them, until there are none.
        let (report, _) = run("(loop $more
               (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 3))
               (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)) (then unreachable))
               (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (br_if $more (i32.load (i32.const 4))))");
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout":"stdin","stderr":""}"#)
        );
    }

    #[test]
    fn the_next_command_begins_anew() {
        let mut rig = Rig::new(&command(
            &("(if (call $args_sizes_get (i32.const 0) (i32.const 4)) (then unreachable))
               (if (i32.ne (i32.load (i32.const 0)) (i32.const 1)) (then unreachable))"
                .to_owned()
                + &write(1, "x")),
        ));
        ended(Kind::Trap, rig.command(&invocation(&["one"], b"")));
        for _ in 0..2 {
            let report = rig.command(&invocation(&[], b""));
            assert_eq!(
                report.result.as_deref(),
                Ok(r#"{"exit_code":0,"stdout":"x","stderr":""}"#)
            );
        }
    }

    #[test]
    fn an_endless_command_ends_at_its_deadline() {
        let mut rig = Rig::new(&command("(loop $l (br $l))"));
        let invocation = invocation(&[], b"");
        let failure = rig.command_timed_out(&invocation);
        assert_eq!(failure.data.as_deref(), Some(r#"{"stdout":"","stderr":""}"#));
    }
}
