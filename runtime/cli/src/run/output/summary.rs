//! Formats the summary of a run, the last line on stderr.

use std::fmt::Write as _;
use std::time::Duration;

use mpwasm::{FinalError, FinalValue, Kind, Stats};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::run::resume::SkippedTasks;

/// The kinds, in the order of the summary.
const KINDS: [Kind; 10] = [
    Kind::Error,
    Kind::Timeout,
    Kind::Trap,
    Kind::Exit,
    Kind::Memory,
    Kind::Fuel,
    Kind::Limit,
    Kind::Crash,
    Kind::Cancelled,
    Kind::Invalid,
];

/// What the summary of a run says.
#[derive(Debug, Default)]
pub struct RunSummary {
    ok: u64,
    failed: [u64; KINDS.len()],
    callbacks_failed: u64,
    skipped: SkippedTasks,
    /// Whether the records are in a log, which `--resume` can continue.
    has_log: bool,
    /// Whether the run ended before all tasks were read. The unread tasks are not counted.
    cut_short: bool,
}

impl RunSummary {
    /// Returns the summary of a run whose outcomes the pool has counted. `has_log` is true if the records are in a log, which
    /// `--resume` can continue.
    pub fn new(stats: &Stats, skipped: SkippedTasks, has_log: bool, cut_short: bool) -> Self {
        Self {
            ok: stats.ok,
            failed: KINDS.map(|kind| stats.failed(kind)),
            callbacks_failed: stats.callbacks_failed,
            skipped,
            has_log,
            cut_short,
        }
    }

    /// Returns the number of tasks with a record that `--resume` will run.
    fn resumable(&self) -> u64 {
        match self.has_log {
            true => self.failed[Kind::Cancelled as usize],
            false => 0,
        }
    }

    fn total(&self) -> u64 {
        self.ok + self.failed.iter().sum::<u64>()
    }

    /// Returns whether a task or callback failed, which makes the exit code 1.
    pub fn any_failure(&self) -> bool {
        self.ok < self.total() || self.callbacks_failed > 0
    }

    /// Returns the summary of a run that took `wall`, without prefix and newline.
    pub fn text(&self, wall: Duration) -> String {
        let total = self.total();
        let mut line = match total {
            0 => "no tasks".to_owned(),
            1 => "1 task: ".to_owned(),
            _ => format!("{total} tasks: "),
        };
        let failed = KINDS
            .iter()
            .map(|kind| (kind.as_str(), self.failed[*kind as usize]));
        let counts: Vec<String> = std::iter::once(("ok", self.ok))
            .chain(failed)
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        line += &counts.join(", ");
        match self.callbacks_failed {
            0 => {}
            1 => line += "; 1 callback failed",
            count => _ = write!(line, "; {count} callbacks failed"),
        }
        match self.skipped {
            SkippedTasks { tasks: 0, .. } => {}
            SkippedTasks { tasks, failed: 0 } => _ = write!(line, "; {tasks} skipped, as they have a record"),
            SkippedTasks { tasks, failed } => {
                _ = write!(
                    line,
                    "; {tasks} skipped, as they have a record ({failed} of a failure: --retry-failed runs them again)"
                );
            }
        }
        let unread = self.has_log && self.cut_short;
        match self.resumable() {
            0 if unread => line += "; what was not read waits for --resume",
            0 => {}
            1 => line += "; 1 waits for --resume",
            count => _ = write!(line, "; {count} wait for --resume"),
        }
        if unread && self.resumable() > 0 {
            line += ", with what was not read";
        }
        let seconds = wall.as_secs_f64();
        _ = write!(line, "; {seconds:.2} s");
        if total > 0 {
            #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
            let rate = total as f64 / seconds.max(1e-6);
            let digits = usize::from(rate < 100.0);
            _ = write!(line, ", {rate:.digits$} tasks/s");
        }
        line
    }

    /// Returns a line for each final value.
    pub fn final_values(&self, values: &[FinalValue]) -> impl Iterator<Item = String> {
        values.iter().map(|value| final_value(value, self.skipped))
    }

    /// Returns the summary as a JSON object, with the final values if there are any. Kinds that did not occur are 0.
    pub fn json(&self, wall: Duration, values: &[FinalValue]) -> String {
        let mut fields = serde_json::Map::new();
        fields.insert("tasks".into(), self.total().into());
        fields.insert("ok".into(), self.ok.into());
        for kind in KINDS {
            fields.insert(kind.as_str().into(), self.failed[kind as usize].into());
        }
        fields.insert("callbacks_failed".into(), self.callbacks_failed.into());
        fields.insert("skipped".into(), self.skipped.tasks.into());
        fields.insert("skipped_failed".into(), self.skipped.failed.into());
        fields.insert("resumable".into(), self.resumable().into());
        fields.insert("seconds".into(), wall.as_secs_f64().into());
        let values = values.iter().map(FinalValueJson::of).collect();
        let object = SummaryJson { fields, values };
        serde_json::to_string(&object).expect("an object of fields, numbers and JSON text")
    }
}

/// The summary as JSON.
#[derive(Serialize)]
struct SummaryJson<'a> {
    #[serde(flatten)]
    fields: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "final_values", skip_serializing_if = "Vec::is_empty")]
    values: Vec<FinalValueJson<'a>>,
}

/// A final value in the summary: with `value` or with `error`.
#[derive(Serialize)]
struct FinalValueJson<'a> {
    guest: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a FinalError>,
}

impl<'a> FinalValueJson<'a> {
    fn of(value: &'a FinalValue) -> Self {
        Self {
            guest: &value.guest,
            model: &value.model,
            value: value.result.as_deref().ok(),
            error: value.result.as_ref().err(),
        }
    }
}

/// Returns the line for the final value of a model.
fn final_value(value: &FinalValue, skipped: SkippedTasks) -> String {
    let model = match value.model.as_str() {
        "" => "the unnamed model".to_owned(),
        name => format!("model {name:?}"),
    };
    match &value.result {
        Ok(json) if skipped.tasks > 0 => {
            format!("the final value of {model}, without the tasks that were skipped: {json}")
        }
        Ok(json) => format!("the final value of {model}: {json}"),
        Err(error) => format!("there is no final value of {model}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The summary of a run in which this many tasks succeeded, and these failed.
    fn summary(ok: u64, failed: &[(Kind, u64)]) -> RunSummary {
        let mut summary = RunSummary {
            ok,
            ..RunSummary::default()
        };
        for (kind, count) in failed {
            summary.failed[*kind as usize] = *count;
        }
        summary
    }

    #[test]
    fn the_summary_names_what_occurred_and_ok_first() {
        assert_eq!(
            summary(6, &[(Kind::Timeout, 4)]).text(Duration::from_millis(2010)),
            "10 tasks: 6 ok, 4 timeout; 2.01 s, 5.0 tasks/s"
        );
    }

    #[test]
    fn one_task_and_one_callback_are_singular_and_none_has_no_rate() {
        let mut one = summary(1, &[]);
        one.callbacks_failed = 1;
        assert_eq!(
            one.text(Duration::from_millis(500)),
            "1 task: 1 ok; 1 callback failed; 0.50 s, 2.0 tasks/s"
        );
        assert_eq!(summary(0, &[]).text(Duration::ZERO), "no tasks; 0.00 s");
    }

    #[test]
    fn skipped_tasks_are_counted_separately() {
        let mut one = summary(1, &[]);
        one.skipped = SkippedTasks { tasks: 3, failed: 0 };
        let line = one.text(Duration::from_secs(1));
        assert_eq!(
            line,
            "1 task: 1 ok; 3 skipped, as they have a record; 1.00 s, 1.0 tasks/s"
        );
        one.skipped = SkippedTasks { tasks: 3, failed: 2 };
        let line = one.text(Duration::from_secs(1));
        assert!(
            line.contains("3 skipped") && line.contains("2 of a failure: --retry-failed"),
            "{line}"
        );
    }

    #[test]
    fn cancelled_tasks_wait_for_resume_where_there_is_a_log() {
        let mut two = summary(0, &[(Kind::Cancelled, 2)]);
        let line = |summary: &RunSummary| summary.text(Duration::from_secs(1));
        assert_eq!(line(&two), "2 tasks: 2 cancelled; 1.00 s, 2.0 tasks/s");
        two.has_log = true;
        assert_eq!(
            line(&two),
            "2 tasks: 2 cancelled; 2 wait for --resume; 1.00 s, 2.0 tasks/s"
        );
        assert!(two.json(Duration::ZERO, &[]).contains("\"resumable\":2,"));
        two.cut_short = true;
        assert!(line(&two).contains("; 2 wait for --resume, with what was not read; "));
        let mut none = RunSummary {
            cut_short: true,
            ..RunSummary::default()
        };
        assert_eq!(line(&none), "no tasks; 1.00 s");
        none.has_log = true;
        assert_eq!(
            line(&none),
            "no tasks; what was not read waits for --resume; 1.00 s"
        );
    }

    #[test]
    fn the_json_form_has_every_count() {
        let mut two = summary(1, &[(Kind::Timeout, 1)]);
        two.callbacks_failed = 1;
        let json = two.json(Duration::from_millis(1500), &[]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["tasks"], &value["ok"]), (&2.into(), &1.into()));
        assert_eq!((&value["timeout"], &value["trap"]), (&1.into(), &0.into()));
        assert_eq!(
            (&value["callbacks_failed"], &value["seconds"]),
            (&1.into(), &1.5.into())
        );
        assert_eq!(
            (&value["skipped"], &value["skipped_failed"]),
            (&0.into(), &0.into())
        );
    }

    #[test]
    fn high_rates_have_no_fraction() {
        assert_eq!(
            summary(1000, &[]).text(Duration::from_secs(2)),
            "1000 tasks: 1000 ok; 2.00 s, 500 tasks/s"
        );
    }

    #[test]
    fn every_kind_is_counted_in_its_own_place() {
        for kind in KINDS {
            let line = summary(0, &[(kind, 1)]).text(Duration::from_secs(1));
            assert_eq!(line, format!("1 task: 1 {kind}; 1.00 s, 1.0 tasks/s"));
        }
    }

    fn value(result: Result<&str, &str>) -> FinalValue {
        FinalValue {
            guest: "sum.wasm".into(),
            model: "sum".into(),
            result: match result {
                Ok(json) => Ok(RawValue::from_string(json.into()).unwrap()),
                Err(message) => Err(FinalError {
                    kind: Kind::Trap,
                    message: message.into(),
                }),
            },
        }
    }

    #[test]
    fn final_values_are_shown_with_a_note_about_skipped_tasks() {
        let values = [value(Ok("[1]")), value(Err("lost"))];
        let mut none = RunSummary::default();
        let lines = |summary: &RunSummary| summary.final_values(&values).collect::<Vec<_>>();
        assert_eq!(
            lines(&none),
            [
                "the final value of model \"sum\": [1]",
                "there is no final value of model \"sum\": trap: lost"
            ]
        );
        none.skipped = SkippedTasks { tasks: 3, failed: 0 };
        assert!(lines(&none)[0].ends_with(", without the tasks that were skipped: [1]"));
    }

    #[test]
    fn final_values_are_unchanged_in_the_json() {
        let json = RunSummary::default().json(Duration::ZERO, &[value(Ok("1.0e2")), value(Err("lost"))]);
        let expected = concat!(
            r#","final_values":[{"guest":"sum.wasm","model":"sum","value":1.0e2},"#,
            r#"{"guest":"sum.wasm","model":"sum","error":{"kind":"trap","message":"lost"}}]}"#
        );
        assert!(json.ends_with(expected), "{json}");
    }

    #[test]
    fn a_failed_callback_and_a_cancelled_task_are_failures() {
        assert!(!summary(1, &[]).any_failure());
        assert!(summary(1, &[(Kind::Cancelled, 1)]).any_failure());
        let mut callback = summary(1, &[]);
        callback.callbacks_failed = 1;
        assert!(callback.any_failure());
    }
}
