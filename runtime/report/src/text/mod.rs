//! Writes a report as text for people: at most 80 columns, with text of guests escaped.

pub mod figures;
mod lines;
pub mod quantities;

use std::io::{self, Write};

use crate::report::{Interval, Report, TaskSummary, Throughput, Worker};
use crate::text::figures::{count, date, date_in_millis, duration, percent, plural, rate, size};
use crate::text::lines::{Lines, Look};

/// Most lines of the throughput: 20.
const THROUGHPUT_LINES: usize = 20;
/// Columns of the longest bar of the throughput.
const BAR: u64 = 38;

/// Writes the report. Lists of workers have at most `top` entries; the other lists have those of the report.
///
/// # Errors
/// When the writer fails.
pub fn write(report: &Report, top: usize, has_colours: bool, writer: impl Write) -> io::Result<()> {
    let mut lines = Lines::new(writer, has_colours);
    summary(&mut lines, report)?;
    if report.tasks.total > 0 {
        outcomes(&mut lines, report)?;
        distributions(&mut lines, report)?;
        throughput(&mut lines, report.throughput.as_ref())?;
        tasks(
            &mut lines,
            report,
            "Slowest tasks",
            "run time",
            &report.slowest,
            |task| task.run_us.map(duration),
        )?;
        tasks(
            &mut lines,
            report,
            "Largest memory",
            "memory",
            &report.largest_memory,
            |task| task.memory_peak.map(size),
        )?;
        tasks(
            &mut lines,
            report,
            "Most output",
            "stdout",
            &report.largest_output,
            |task| Some(size(task.stdout_bytes)),
        )?;
        failures(&mut lines, report)?;
        retries(&mut lines, report)?;
        callbacks(&mut lines, report)?;
        workers(&mut lines, &report.workers, report.logs.len() > 1, top)?;
    }
    bad_lines(&mut lines, report)
}

fn summary<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    let tasks = &report.tasks;
    lines.add(Look::Title, &plural(tasks.total, "task"));
    if tasks.total > 0 {
        lines
            .add(Look::Plain, ": ")
            .add(Look::Good, &format!("{} ok", count(tasks.ok)));
        let look = if tasks.failed > 0 { Look::Bad } else { Look::Plain };
        lines
            .add(Look::Plain, ", ")
            .add(look, &format!("{} failed", count(tasks.failed)));
    }
    lines.end()?;
    let (name, logs) = match &report.logs[..] {
        [log] => ("log", log.name.clone()),
        logs => ("logs", count(logs.len() as u64)),
    };
    property(lines, name, &logs)?;
    let Some(time) = report.time else {
        return match tasks.ran {
            0 => Ok(()),
            _ => property(
                lines,
                "wall time",
                "unknown, since the records have no start times",
            ),
        };
    };
    let cpus = match time.wall_us {
        0 => String::new(),
        wall => format!(", {:.2} CPUs", time.cpu_us as f64 / wall as f64),
    };
    for (name, text) in [
        ("from", date(time.first_us)),
        ("to", date(time.last_us)),
        ("wall time", duration(time.wall_us)),
        ("CPU time", duration(time.cpu_us) + &cpus),
        ("rate", time.tasks_per_second.map_or("unknown".to_owned(), rate)),
    ] {
        property(lines, name, &text)?;
    }
    Ok(())
}

fn property<W: Write>(lines: &mut Lines<W>, name: &str, text: &str) -> io::Result<()> {
    let lines = lines.add(Look::Plain, "  ").left(Look::Plain, 11, name);
    lines.add(Look::Plain, text).end()
}

fn outcomes<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    lines.title("Outcomes")?;
    let mut by_status: Vec<_> = report
        .tasks
        .by_status
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    by_status.sort_by_key(|(status, count)| (**status != "ok", std::cmp::Reverse(**count)));
    for (status, number) in by_status {
        let part = *number as f64 / report.tasks.total as f64;
        lines.add(Look::Plain, "  ").left(look_of(status), 10, status);
        lines
            .right(Look::Plain, 13, &count(*number))
            .right(Look::Plain, 9, &percent(part))
            .end()?;
    }
    Ok(())
}

fn distributions<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    lines.end()?;
    lines.add(Look::Plain, "  ").left(Look::Plain, 13, "");
    for name in ["p50", "p90", "p99", "max", "mean"] {
        lines.right(Look::Title, 12, name);
    }
    lines.end()?;
    for (name, distribution, show) in quantities::known(report) {
        lines.add(Look::Plain, "  ").left(Look::Plain, 13, name);
        let of = distribution;
        for figure in [of.p50, of.p90, of.p99, of.max, of.mean] {
            lines.right(Look::Plain, 12, &show(figure));
        }
        lines.end()?;
    }
    Ok(())
}

fn throughput<W: Write>(lines: &mut Lines<W>, throughput: Option<&Throughput>) -> io::Result<()> {
    let Some(Throughput { width_us, intervals }) = throughput else {
        return Ok(());
    };
    let merged = intervals.len().div_ceil(THROUGHPUT_LINES);
    let intervals: Vec<_> = intervals.chunks(merged).map(sum).collect();
    let most = intervals
        .iter()
        .map(|interval| interval.ended)
        .max()
        .unwrap_or(0)
        .max(1);
    let width = width_us.saturating_mul(merged as u64);
    let start = if width < 1_000_000 { date_in_millis } else { date };
    let title = format!(
        "Throughput: tasks that ended, in intervals of {}",
        duration(width)
    );
    lines.title(&title)?;
    for interval in &intervals {
        let bar = (u128::from(interval.ended) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
        let failed = (u128::from(interval.failed) * u128::from(BAR)).div_ceil(u128::from(most)) as usize;
        lines
            .add(Look::Plain, "  ")
            .left(Look::Plain, 26, &start(interval.start_us));
        lines
            .right(Look::Plain, 12, &count(interval.ended))
            .add(Look::Plain, "  ");
        lines
            .add(Look::Good, &"#".repeat(bar - failed.min(bar)))
            .add(Look::Bad, &"x".repeat(failed))
            .end()?;
    }
    match intervals.iter().any(|interval| interval.failed > 0) {
        true => lines.add(Look::Plain, "  (x: failed)").end(),
        false => Ok(()),
    }
}

/// Returns the sum of intervals that follow each other.
fn sum(intervals: &[Interval]) -> Interval {
    Interval {
        start_us: intervals[0].start_us,
        ended: intervals.iter().map(|interval| interval.ended).sum(),
        failed: intervals.iter().map(|interval| interval.failed).sum(),
    }
}

fn tasks<W: Write>(
    lines: &mut Lines<W>,
    report: &Report,
    title: &str,
    column: &str,
    tasks: &[TaskSummary],
    figure: impl Fn(&TaskSummary) -> Option<String>,
) -> io::Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    lines.title(title)?;
    lines.right(Look::Plain, 12, column).add(Look::Plain, "  ");
    lines
        .left(Look::Plain, 11, "status")
        .add(Look::Plain, "task")
        .end()?;
    for task in tasks {
        lines
            .right(Look::Plain, 12, &figure(task).unwrap_or_default())
            .add(Look::Plain, "  ");
        lines
            .left(look_of(task.status), 11, task.status)
            .add(Look::Plain, &describe(task, report))
            .end()?;
    }
    Ok(())
}

fn failures<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    let failures = &report.failures;
    if report.tasks.failed == 0 {
        return Ok(());
    }
    let groups = plural(failures.groups_total, "group");
    lines.title(&format!(
        "Failures: {} in {groups}",
        plural(report.tasks.failed, "task")
    ))?;
    for group in &failures.groups {
        let example = describe(&group.example, report);
        lines
            .right(Look::Plain, 12, &count(group.count))
            .add(Look::Plain, "  ");
        lines
            .left(Look::Bad, 11, group.kind)
            .add(Look::Plain, &format!("such as {example}"));
        lines.end()?;
        let pattern = group.pattern.as_deref().unwrap_or("(many other messages)");
        lines.add(Look::Plain, "    ").add(Look::Plain, pattern).end()?;
        if group.pattern.as_deref() != Some(&group.message) {
            lines
                .add(Look::Plain, "    ")
                .add(Look::Plain, &group.message)
                .end()?;
        }
        if let Some(frame) = &group.frame {
            lines.add(Look::Plain, &format!("    in {frame}")).end()?;
        }
    }
    more(lines, failures.groups_total, failures.groups.len(), "group")
}

fn retries<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    let retries = &report.retries;
    if retries.tasks == 0 {
        return Ok(());
    }
    lines.title(&format!(
        "Retries: {} with {}, {} succeeded",
        plural(retries.tasks, "task"),
        plural(retries.attempts, "further attempt"),
        count(retries.succeeded)
    ))?;
    for (kind, number) in &retries.by_kind {
        lines
            .right(Look::Plain, 12, &count(*number))
            .add(Look::Plain, "  after ")
            .add(Look::Bad, kind)
            .end()?;
    }
    tasks(
        lines,
        report,
        "Most attempts",
        "attempts",
        &retries.most,
        |task| Some(count(task.attempts.into())),
    )
}

fn callbacks<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    let callbacks = &report.callbacks;
    if callbacks.ok + callbacks.skipped + callbacks.failed == 0 {
        return Ok(());
    }
    lines.title(&format!(
        "Callbacks: {} ok, {} failed, {} skipped",
        count(callbacks.ok),
        count(callbacks.failed),
        count(callbacks.skipped)
    ))?;
    for task in &callbacks.first_failed {
        lines
            .right(Look::Bad, 12, task.callback)
            .add(Look::Plain, "  ")
            .add(Look::Plain, &describe(task, report))
            .end()?;
    }
    more(
        lines,
        callbacks.failed,
        callbacks.first_failed.len(),
        "failed callback",
    )
}

fn workers<W: Write>(
    lines: &mut Lines<W>,
    workers: &[Worker],
    several_logs: bool,
    top: usize,
) -> io::Result<()> {
    if workers.is_empty() {
        return Ok(());
    }
    lines.title("Workers")?;
    for name in ["worker", "tasks", "failed", "processes", "busy", "CPU time"] {
        lines.right(Look::Plain, 11, name);
    }
    lines.end()?;
    for worker in workers.iter().take(top) {
        for figure in [
            worker.worker.to_string(),
            count(worker.tasks),
            count(worker.failed),
            count(worker.processes),
            worker
                .busy_share
                .map_or_else(|| duration(worker.busy_us), percent),
            duration(worker.cpu_us),
        ] {
            lines.right(Look::Plain, 11, &figure);
        }
        if several_logs {
            lines.add(Look::Plain, "  ").add(Look::Plain, &worker.log);
        }
        lines.end()?;
    }
    more(lines, workers.len() as u64, workers.len().min(top), "worker")
}

fn bad_lines<W: Write>(lines: &mut Lines<W>, report: &Report) -> io::Result<()> {
    let bad = &report.bad_lines;
    if bad.total == 0 {
        return Ok(());
    }
    lines.title(&format!(
        "Left out: {} that are no records",
        plural(bad.total, "line")
    ))?;
    for line in &bad.first {
        let why = line.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        lines
            .add(
                Look::Plain,
                &format!("  {} line {}: {}{why}", line.log, line.line, line.reason.as_str()),
            )
            .end()?;
    }
    more(lines, bad.total, bad.first.len(), "line")
}

fn more<W: Write>(lines: &mut Lines<W>, total: u64, shown: usize, what: &str) -> io::Result<()> {
    match total.saturating_sub(shown as u64) {
        0 => Ok(()),
        rest => lines
            .right(Look::Plain, 12, "")
            .add(
                Look::Plain,
                &format!("and {}", plural(rest, &format!("more {what}"))),
            )
            .end(),
    }
}

/// Returns the name of a task, and the place of its record: a line, and the log if there are several.
fn describe(task: &TaskSummary, report: &Report) -> String {
    let log = if report.logs.len() > 1 {
        format!("{} ", task.log)
    } else {
        String::new()
    };
    let mut text = format!("task {} ({log}line {})", task.id, task.line);
    if let Some(key) = task.key.as_ref().filter(|key| !key.is_empty()) {
        text += &format!(" {key:?}");
    }
    if !task.model.is_empty() {
        text += &format!(" model {}", task.model);
    }
    text
}

fn look_of(status: &str) -> Look {
    if status == "ok" { Look::Good } else { Look::Bad }
}
