//! The head of the page: what was run, how it ended, and how long it took.

use crate::html::body::Body;
use crate::html::markup::Markup;
use crate::html::table::{self, Column};
use crate::report::Report;
use crate::text::figures::{count, date, duration, percent, plural, rate};
use crate::text::quantities;

/// Writes the title and the totals.
pub fn header(html: &mut Markup, report: &Report) {
    let tasks = &report.tasks;
    html.element("h1", &[], "mpwasm report");
    html.open("p", &[("class", "totals")])
        .element("strong", &[], &plural(tasks.total, "task"));
    if tasks.total > 0 {
        let failed = if tasks.failed > 0 { "bad" } else { "none" };
        html.text(": ")
            .element("span", &[("class", "good")], &format!("{} ok", count(tasks.ok)));
        html.text(", ").element(
            "span",
            &[("class", failed)],
            &format!("{} failed", count(tasks.failed)),
        );
    }
    html.close();
    html.open("dl", &[("class", "facts")]);
    match &report.logs[..] {
        [log] => fact(html, "log", |html| html.foreign(&log.name)),
        logs => fact(html, "logs", |html| html.text(&count(logs.len() as u64))),
    }
    for (name, value) in times(report) {
        fact(html, name, |html| html.text(&value));
    }
    html.close();
}

/// Returns the times of the whole report, with their names.
fn times(report: &Report) -> Vec<(&'static str, String)> {
    let Some(time) = report.time else {
        return match report.tasks.ran {
            0 => Vec::new(),
            _ => vec![(
                "wall time",
                "unknown, since the records have no start times".to_owned(),
            )],
        };
    };
    let cpus = match time.wall_us {
        0 => String::new(),
        wall => format!(", {:.2} CPUs", time.cpu_us as f64 / wall as f64),
    };
    vec![
        ("from", date(time.first_us)),
        ("to", date(time.last_us)),
        ("wall time", duration(time.wall_us)),
        ("CPU time", duration(time.cpu_us) + &cpus),
        ("rate", time.tasks_per_second.map_or("unknown".to_owned(), rate)),
    ]
}

fn fact(html: &mut Markup, name: &str, value: impl FnOnce(&mut Markup) -> &mut Markup) {
    html.open("div", &[]).element("dt", &[], name).open("dd", &[]);
    value(html).close().close();
}

/// Writes the numbers of tasks by outcome.
pub fn outcomes(body: &mut Body, report: &Report) {
    let by_status = report.tasks.by_status.iter().filter(|(_, count)| **count > 0);
    let mut by_status: Vec<_> = by_status.collect();
    by_status.sort_by_key(|(status, count)| (**status != "ok", std::cmp::Reverse(**count)));
    let html = body.begin("outcomes", "Outcomes");
    let columns = [
        ("outcome", Column::Text),
        ("tasks", Column::Number),
        ("share", Column::Number),
        ("", Column::Bar),
    ];
    table::begin(html, "Tasks by outcome", false, &columns);
    for (status, number) in by_status {
        let part = *number as f64 / report.tasks.total as f64;
        html.open("tr", &[]);
        table::heading(html, status);
        table::number(html, &count(*number));
        table::number(html, &percent(part));
        table::bar(html, part, if *status == "ok" { 0.0 } else { part });
        html.close();
    }
    table::end(html);
    if report.output_truncated > 0 {
        let tasks = plural(report.output_truncated, "task");
        html.element("p", &[], &format!("The output of {tasks} was cut."));
    }
    body.end();
}

/// Writes the percentiles of times and sizes.
pub fn distributions(body: &mut Body, report: &Report) {
    let mut quantities = quantities::known(report).peekable();
    if quantities.peek().is_none() {
        return;
    }
    let html = body.begin("percentiles", "Times and sizes");
    let names = ["p50", "p90", "p99", "max", "mean"].map(|name| (name, Column::Number));
    let columns: Vec<_> = [("per task", Column::Text)].into_iter().chain(names).collect();
    table::begin(html, "Percentiles", false, &columns);
    for (name, of, show) in quantities {
        html.open("tr", &[]);
        table::heading(html, name);
        for figure in [of.p50, of.p90, of.p99, of.max, of.mean] {
            table::number(html, &show(figure));
        }
        html.close();
    }
    table::end(html);
    body.end();
}
