//! Names a task and the place of its record.

use crate::html::markup::Markup;
use crate::report::{Report, TaskSummary};

/// Writes a task's id, key and model.
pub fn task(html: &mut Markup, task: &TaskSummary) {
    html.text(&format!("task {}", task.id));
    if let Some(key) = task.key.as_ref().filter(|key| !key.is_empty()) {
        html.text(" ").open("q", &[]).foreign(key).close();
    }
    if !task.model.is_empty() {
        html.text(", model ").foreign(&task.model);
    }
}

/// Returns the place of a task's record: a line, and the log if there are several.
pub fn place(task: &TaskSummary, report: &Report) -> Markup {
    let mut html = Markup::default();
    if report.logs.len() > 1 {
        html.foreign(&task.log).text(" ");
    }
    html.text(&format!("line {}", task.line));
    html
}
