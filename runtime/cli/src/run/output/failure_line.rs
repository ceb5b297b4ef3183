//! The line on stderr for a task or callback that failed.

use std::fmt::Write as _;

use mpwasm::{CallbackStatus, Kind, Outcome};
use mpwasm_types::objects::redact;

/// Most characters of a failure's message that are shown: 400, a few lines of a terminal.
const SHOWN_MESSAGE: usize = 400;

/// Returns the line for a task or callback that failed. A cancelled task has none, as the end of the run explains it.
pub fn failure_line(outcome: &Outcome) -> Option<String> {
    let mut line = format!("mpwasm: task {}", outcome.id);
    if let Some(key) = &outcome.key {
        _ = write!(line, " (key {})", shortened(key));
    }
    let callback = match outcome.callback {
        CallbackStatus::Failed(kind) => Some(kind),
        _ => None,
    };
    match (&outcome.result, callback) {
        (Ok(_), None) => return None,
        (Ok(_), Some(kind)) => _ = write!(line, ": ok, but its callback failed: {kind}"),
        (Err(error), None) if error.kind == Kind::Cancelled => return None,
        (Err(error), callback) => {
            _ = write!(line, ": {}: {}", error.kind, shortened(&redact(&error.message)));
            if let Some(kind) = callback {
                _ = write!(line, "; its error_callback failed too: {kind}");
            }
        }
    }
    Some(line)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::output::tests::{failed, ok};

    #[test]
    fn failure_lines_name_the_key_and_the_callback_and_leave_out_what_was_cancelled() {
        let mut keyed = failed(1, Kind::Error, "no");
        keyed.key = Some("k".into());
        keyed.callback = CallbackStatus::Failed(Kind::Trap);
        assert_eq!(
            failure_line(&keyed).unwrap(),
            "mpwasm: task 1 (key k): error: no; its error_callback failed too: trap"
        );
        let mut callback = ok(2, "1");
        callback.callback = CallbackStatus::Failed(Kind::Timeout);
        assert_eq!(
            failure_line(&callback).unwrap(),
            "mpwasm: task 2: ok, but its callback failed: timeout"
        );
        assert_eq!(failure_line(&ok(3, "1")), None);
        assert_eq!(failure_line(&failed(4, Kind::Cancelled, "")), None);
        let long = failure_line(&failed(5, Kind::Error, &"é".repeat(10_000))).unwrap();
        assert!(long.chars().count() < 500 && long.ends_with('…'));
    }
}
