//! Lists of tasks, workers, logs and lines.

use crate::html::body::Body;
use crate::html::markup::Markup;
use crate::html::table::{self, Column};
use crate::html::task::{place, task};
use crate::report::{Report, TaskSummary};
use crate::text::figures::{count, date, duration, percent, plural, size};

/// Fewest entries of the lists of workers and logs: 100, since a page has room for them.
const MIN_ROWS: usize = 100;

/// Writes the slowest tasks, and those with the most memory and output.
pub fn largest(body: &mut Body, report: &Report) {
    if report.slowest.is_empty() && report.largest_output.is_empty() {
        return;
    }
    let html = body.begin("tasks", "Slowest and largest tasks");
    tasks(
        html,
        "Slowest tasks",
        "run time",
        report,
        &report.slowest,
        |task| task.run_us.map_or(String::new(), duration),
    );
    tasks(
        html,
        "Largest memory",
        "memory",
        report,
        &report.largest_memory,
        |task| task.memory_peak.map_or(String::new(), size),
    );
    tasks(
        html,
        "Most output",
        "stdout",
        report,
        &report.largest_output,
        |task| size(task.stdout_bytes),
    );
    body.end();
}

/// Writes a table of tasks, with a figure of each.
pub fn tasks(
    html: &mut Markup,
    caption: &str,
    name: &str,
    report: &Report,
    tasks: &[TaskSummary],
    figure: impl Fn(&TaskSummary) -> String,
) {
    if tasks.is_empty() {
        return;
    }
    let columns = [
        (name, Column::Number),
        ("status", Column::Text),
        ("task", Column::Text),
        ("record", Column::Text),
    ];
    table::begin(html, caption, false, &columns);
    for of in tasks {
        html.open("tr", &[]);
        table::number(html, &figure(of));
        let class = if of.status == "ok" { "good" } else { "bad" };
        html.element("td", &[("class", class)], of.status);
        html.open("td", &[("class", "task")]);
        task(html, of);
        html.close()
            .open("td", &[("class", "place")])
            .append(place(of, report))
            .close()
            .close();
    }
    table::end(html);
}

/// Writes what each worker did.
pub fn workers(body: &mut Body, report: &Report, top: usize) {
    if report.workers.is_empty() {
        return;
    }
    let html = body.begin("workers", "Workers");
    let mut columns = vec![("worker", Column::Text)];
    let figures = ["tasks", "failed", "processes", "CPU time", "busy"];
    columns.extend(figures.map(|name| (name, Column::Number)));
    columns.push(("", Column::Bar));
    table::begin(html, "Use of each worker", false, &columns);
    let shown = top.max(MIN_ROWS).min(report.workers.len());
    for worker in &report.workers[..shown] {
        html.open("tr", &[]).open("th", &[("scope", "row")]);
        html.text(&worker.worker.to_string());
        if report.logs.len() > 1 {
            html.text(" of ").foreign(&worker.log);
        }
        html.close();
        for number in [worker.tasks, worker.failed, worker.processes] {
            table::number(html, &count(number));
        }
        table::number(html, &duration(worker.cpu_us));
        let busy = duration(worker.busy_us);
        let share = worker
            .busy_share
            .map_or(String::new(), |share| format!(" ({})", percent(share)));
        table::number(html, &(busy + &share));
        table::bar(html, worker.busy_share.unwrap_or_default(), 0.0);
        html.close();
    }
    table::end(html);
    more(html, report.workers.len() as u64, shown, "worker");
    body.end();
}

/// Writes the logs, if there are several.
pub fn logs(body: &mut Body, report: &Report, top: usize) {
    if report.logs.len() < 2 {
        return;
    }
    let html = body.begin("logs", "Logs");
    let numbers = ["records", "failed", "wall time"].map(|name| (name, Column::Number));
    let columns = [
        ("number", Column::Number),
        ("log", Column::Text),
        ("from", Column::Text),
    ]
    .into_iter();
    table::begin(
        html,
        "Logs of this report",
        false,
        &columns.chain(numbers).collect::<Vec<_>>(),
    );
    let shown = top.max(MIN_ROWS).min(report.logs.len());
    for (index, log) in report.logs[..shown].iter().enumerate() {
        html.open("tr", &[]);
        table::number(html, &count(index as u64 + 1));
        html.open("th", &[("scope", "row")]).foreign(&log.name).close();
        html.element(
            "td",
            &[],
            &log.time.map_or(String::new(), |time| date(time.first_us)),
        );
        table::number(html, &count(log.records));
        table::number(html, &count(log.failed));
        table::number(
            html,
            &log.time.map_or(String::new(), |time| duration(time.wall_us)),
        );
        html.close();
    }
    table::end(html);
    more(html, report.logs.len() as u64, shown, "log");
    body.end();
}

/// Writes the lines that are no records.
pub fn bad_lines(body: &mut Body, report: &Report) {
    let bad = &report.bad_lines;
    if bad.total == 0 {
        return;
    }
    let html = body.begin("left-out", "Left out");
    html.element(
        "p",
        &[],
        &format!("{} that are no records.", plural(bad.total, "line")),
    );
    html.open("ul", &[]);
    for line in &bad.first {
        html.open("li", &[]).foreign(&line.log);
        html.text(&format!(" line {}: {}", line.line, line.reason.as_str()));
        if let Some(why) = &line.why {
            html.text(": ").foreign(why);
        }
        html.close();
    }
    html.close();
    more(html, bad.total, bad.first.len(), "line");
    body.end();
}

/// Writes how many entries a list has beyond those that are shown.
pub fn more(html: &mut Markup, total: u64, shown: usize, what: &str) {
    match total.saturating_sub(shown as u64) {
        0 => {}
        rest => {
            html.element(
                "p",
                &[],
                &format!("and {}", plural(rest, &format!("more {what}"))),
            );
        }
    }
}
