//! Groups failed tasks by kind and message.

use std::cmp::Reverse;
use std::collections::HashMap;

use mpwasm_types::outcome::Kind;

use crate::message_pattern::pattern;
use crate::record::{RecordStatus, TaskRecord};
use crate::report::{FailureGroup, Failures, TaskSummary};

/// Most groups of one kind: 2000, which take at most some megabytes. Further patterns of a kind share one group.
const MAX_GROUPS: usize = 2000;
/// Longest message of an example, in characters.
const MAX_MESSAGE: usize = 1000;
/// Longest frame of an example, in characters.
const MAX_FRAME: usize = 300;

/// Groups failed tasks.
#[derive(Debug, Default)]
pub struct FailureGroups {
    groups: [KindGroups; Kind::ALL.len()],
}

#[derive(Debug, Default)]
struct KindGroups {
    by_pattern: HashMap<String, Group>,
    others: Option<Group>,
}

#[derive(Debug)]
struct Group {
    count: u64,
    example: TaskSummary,
    message: String,
    frame: Option<String>,
}

impl FailureGroups {
    /// Adds a task at a line of a log. A task that succeeded is left out.
    pub fn add(&mut self, log: &str, line: u64, record: &TaskRecord<'_>, summary: impl Fn() -> TaskSummary) {
        let RecordStatus::Failed(kind) = record.status else {
            return;
        };
        let error = record.error.as_ref();
        let message = error.map_or("", |error| &error.message);
        let new = || Group {
            count: 0,
            example: summary(),
            message: cut(message, MAX_MESSAGE),
            frame: error.and_then(|error| Some(cut(error.frame.as_ref()?, MAX_FRAME))),
        };
        let pattern = pattern(message);
        let KindGroups { by_pattern, others } = &mut self.groups[kind as usize];
        let group = if let Some(group) = by_pattern.get_mut(&*pattern) {
            group
        } else if by_pattern.len() < MAX_GROUPS {
            by_pattern.entry(pattern.into_owned()).or_insert_with(new)
        } else {
            others.get_or_insert_with(new)
        };
        if (log, line) < (&*group.example.log, group.example.line) {
            *group = Group {
                count: group.count,
                ..new()
            };
        }
        group.count += 1;
    }

    /// Returns the largest groups, at most `top`.
    pub fn into_failures(self, top: usize) -> Failures {
        let mut groups = Vec::new();
        for (kind, of_kind) in Kind::ALL.into_iter().zip(self.groups) {
            let known = of_kind.by_pattern.into_iter();
            let known = known.map(|(pattern, group)| (Some(pattern), group));
            groups.extend(
                known
                    .chain(of_kind.others.map(|group| (None, group)))
                    .map(|(pattern, group)| FailureGroup {
                        kind: kind.as_str(),
                        pattern,
                        count: group.count,
                        example: group.example,
                        message: group.message,
                        frame: group.frame,
                    }),
            );
        }
        let groups_total = groups.len() as u64;
        groups.sort_by(|a, b| {
            let key = |group: &FailureGroup| (Reverse(group.count), group.kind);
            key(a).cmp(&key(b)).then_with(|| a.pattern.cmp(&b.pattern))
        });
        groups.truncate(top);
        Failures { groups_total, groups }
    }
}

/// Returns the first characters of a text, with `…` if some are left out.
pub fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
