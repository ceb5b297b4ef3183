//! What went wrong: failures by message, retries, callbacks.

use crate::html::body::Body;
use crate::html::lists::{more, tasks};
use crate::html::markup::Markup;
use crate::html::table::{self, Column};
use crate::html::task::{place, task};
use crate::report::{FailureGroup, Report};
use crate::text::figures::{count, duration, plural};

/// Writes the failures by message. Each group can be opened.
pub fn failures(body: &mut Body, report: &Report) {
    if report.tasks.failed == 0 {
        return;
    }
    let failures = &report.failures;
    let html = body.begin("failures", "Failures");
    let groups = plural(failures.groups_total, "group");
    let tasks = plural(report.tasks.failed, "task");
    html.element(
        "p",
        &[],
        &format!("{tasks} in {groups} with the same kind and message."),
    );
    for group in &failures.groups {
        failure_group(html, group, report);
    }
    more(html, failures.groups_total, failures.groups.len(), "group");
    body.end();
}

fn failure_group(html: &mut Markup, group: &FailureGroup, report: &Report) {
    html.open("details", &[("class", "failure")]).open("summary", &[]);
    html.element("span", &[("class", "count")], &count(group.count))
        .text(" ");
    html.element("span", &[("class", "kind bad")], group.kind)
        .text(" ");
    match group.pattern.as_deref() {
        Some("") => html.text("(without a message)"),
        Some(pattern) => html.foreign(pattern),
        None => html.text("(many other messages)"),
    };
    html.close();
    html.open("dl", &[]);
    html.element("dt", &[], "example").open("dd", &[]);
    task(html, &group.example);
    html.text(", ").append(place(&group.example, report)).close();
    html.element("dt", &[], "message")
        .open("dd", &[("class", "message")]);
    html.foreign(&group.message).close();
    if let Some(frame) = &group.frame {
        html.element("dt", &[], "in").open("dd", &[("class", "message")]);
        html.foreign(frame).close();
    }
    if let Some(run_us) = group.example.run_us {
        html.element("dt", &[], "run time")
            .element("dd", &[], &duration(run_us));
    }
    html.close().close();
}

/// Writes the tasks that were tried more than once.
pub fn retries(body: &mut Body, report: &Report) {
    let retries = &report.retries;
    if retries.tasks == 0 {
        return;
    }
    let html = body.begin("retries", "Retries");
    let text = format!(
        "{} with {}. {} succeeded in the end.",
        plural(retries.tasks, "task"),
        plural(retries.attempts, "further attempt"),
        count(retries.succeeded)
    );
    html.element("p", &[], &text);
    if !retries.by_kind.is_empty() {
        let columns = [("kind", Column::Text), ("attempts", Column::Number)];
        table::begin(html, "Attempts that were followed by another", false, &columns);
        for (kind, number) in &retries.by_kind {
            html.open("tr", &[]);
            table::heading(html, kind);
            table::number(html, &count(*number));
            html.close();
        }
        table::end(html);
    }
    tasks(html, "Most attempts", "attempts", report, &retries.most, |task| {
        count(task.attempts.into())
    });
    body.end();
}

/// Writes how callbacks ended.
pub fn callbacks(body: &mut Body, report: &Report) {
    let callbacks = &report.callbacks;
    if callbacks.ok + callbacks.skipped + callbacks.failed == 0 {
        return;
    }
    let html = body.begin("callbacks", "Callbacks");
    let text = format!(
        "{} ok, {} failed, {} skipped.",
        count(callbacks.ok),
        count(callbacks.failed),
        count(callbacks.skipped)
    );
    html.element("p", &[], &text);
    let failed = &callbacks.first_failed;
    tasks(
        html,
        "Callbacks that failed",
        "callback",
        report,
        failed,
        |task| task.callback.to_owned(),
    );
    more(html, callbacks.failed, failed.len(), "failed callback");
    body.end();
}
