//! The places of the charts, and the tables of their data.

use crate::html::body::Body;
use crate::html::markup::Markup;
use crate::html::table::{self, Column};
use crate::report::{Bin, Report, Throughput};
use crate::text::figures::{count, date, date_in_millis, duration, percent};
use crate::timeline::{Cell, Timeline};

/// Columns of the timeline's table: 10.
const COLUMNS: usize = 10;

/// Writes the timeline of workers.
pub fn timeline(body: &mut Body, timeline: &Timeline, report: &Report, has_charts: bool) {
    let html = body.begin("timeline", "Workers over time");
    if has_charts {
        html.open("figure", &[("id", "timeline-chart"), ("hidden", "")]);
        html.open(
            "div",
            &[("class", "controls"), ("role", "group"), ("aria-label", "Zoom")],
        );
        for (action, text) in [
            ("in", "Zoom in"),
            ("out", "Zoom out"),
            ("earlier", "Earlier"),
            ("later", "Later"),
            ("all", "Show all"),
        ] {
            html.element("button", &[("type", "button"), ("data-zoom", action)], text);
        }
        html.open("span", &[("role", "status"), ("class", "range")])
            .close()
            .close();
        plot(html, "Chart of what each worker ran over time");
        html.open("p", &[("class", "legend")]);
        html.element("span", &[("class", "key good")], "running")
            .text(" ");
        html.element("span", &[("class", "key bad")], "failed").text(" ");
        html.element(
            "span",
            &[],
            "Drag over the chart to zoom, double-click to show all.",
        )
        .close();
        html.close();
    }
    data(html, "The timeline as a table", has_charts, |html| {
        timeline_table(html, timeline, report);
    });
    body.end();
}

fn timeline_table(html: &mut Markup, timeline: &Timeline, report: &Report) {
    let bins = timeline.lanes.first().map_or(0, Vec::len);
    let merged = bins.div_ceil(COLUMNS).max(1);
    let starts = (0..bins)
        .step_by(merged)
        .map(|bin| duration(bin as u64 * timeline.width_us));
    let starts: Vec<_> = starts.map(|start| format!("from {start}")).collect();
    let heads = starts.iter().map(|start| (&**start, Column::Number));
    let columns: Vec<_> = [("worker", Column::Text)].into_iter().chain(heads).collect();
    let caption = "Share of the time in which workers were busy, and tasks that failed";
    table::begin(html, caption, true, &columns);
    for (lane, cells) in timeline.lanes.iter().enumerate() {
        html.open("tr", &[]).open("th", &[("scope", "row")]);
        html.foreign(&lane_name(timeline, lane, report)).close();
        for (column, cells) in cells.chunks(merged).enumerate() {
            let busy = cells.iter().map(|cell| cell.busy_us).fold(0, u64::saturating_add);
            let failed: u64 = cells.iter().map(|cell| cell.failed).sum();
            let start = (column * merged) as u64 * timeline.width_us;
            let length = timeline.width_us.saturating_mul(cells.len() as u64);
            let length = length.min(timeline.length_us.saturating_sub(start)).max(1);
            let share = busy_share(busy, length, timeline.workers(lane).len());
            let failures = if failed > 0 {
                format!(", {} failed", count(failed))
            } else {
                String::new()
            };
            table::number(html, &(percent(share) + &failures));
        }
        html.close();
    }
    table::end(html);
}

/// Returns the part of a time in which a number of workers was busy, from 0 to 1.
pub fn busy_share(busy_us: u64, length_us: u64, workers: usize) -> f64 {
    (busy_us as f64 / (length_us as f64 * workers as f64)).min(1.0)
}

/// Returns the share of a bin's time in which the workers of a lane were busy, from 0 to 1.
pub fn cell_share(cell: &Cell, timeline: &Timeline, lane: usize) -> f64 {
    busy_share(cell.busy_us, timeline.width_us, timeline.workers(lane).len())
}

/// Returns the name of a lane: that of its worker, or of the first and the last one.
pub fn lane_name(timeline: &Timeline, lane: usize, report: &Report) -> String {
    let workers = timeline.workers(lane);
    let log = |index: u32| match &report.logs[..] {
        [_] => String::new(),
        logs => format!("{} ", logs[index as usize].name),
    };
    match workers {
        [] => String::new(),
        [one] => format!("{}worker {}", log(one.log), one.worker),
        [first, .., last] if first.log == last.log => {
            format!("{}workers {} to {}", log(first.log), first.worker, last.worker)
        }
        [first, .., last] => format!(
            "{}worker {} to {}worker {}",
            log(first.log),
            first.worker,
            log(last.log),
            last.worker
        ),
    }
}

/// Writes the numbers of tasks that ended over time.
pub fn throughput(body: &mut Body, throughput: &Throughput, has_charts: bool) {
    let html = body.begin("throughput", "Throughput");
    if has_charts {
        html.open("figure", &[("id", "throughput-chart"), ("hidden", "")]);
        plot(html, "Chart of the tasks that ended per second, over time");
        html.open("p", &[("class", "legend")]);
        html.element("span", &[("class", "key good")], "ended").text(" ");
        html.element("span", &[("class", "key bad")], "of these, failed")
            .close();
        html.close();
    }
    data(html, "The throughput as a table", has_charts, |html| {
        throughput_table(html, throughput)
    });
    body.end();
}

fn throughput_table(html: &mut Markup, throughput: &Throughput) {
    let width = throughput.width_us;
    let caption = format!("Tasks that ended, in intervals of {}", duration(width));
    let columns = [
        ("from", Column::Text),
        ("ended", Column::Number),
        ("failed", Column::Number),
        ("", Column::Bar),
    ];
    table::begin(html, &caption, false, &columns);
    let most = throughput.intervals.iter().map(|interval| interval.ended).max();
    let most = most.unwrap_or(0).max(1) as f64;
    let start = if width < 1_000_000 { date_in_millis } else { date };
    for interval in &throughput.intervals {
        html.open("tr", &[]);
        table::heading(html, &start(interval.start_us));
        table::number(html, &count(interval.ended));
        table::number(html, &count(interval.failed));
        table::bar(html, interval.ended as f64 / most, interval.failed as f64 / most);
        html.close();
    }
    table::end(html);
}

/// Writes the histograms of times.
pub fn histograms(body: &mut Body, report: &Report, has_charts: bool) {
    if report.run_histogram.is_empty() {
        return;
    }
    let html = body.begin("histograms", "Queue and run times");
    html.open("div", &[("class", "columns")]);
    for (id, title, bins) in [
        ("queue", "Queue time", &report.queue_histogram),
        ("run", "Run time", &report.run_histogram),
    ] {
        if bins.is_empty() {
            continue;
        }
        html.open("div", &[]).element("h3", &[], title);
        if has_charts {
            html.open("figure", &[("id", &format!("{id}-chart")), ("hidden", "")]);
            plot(
                html,
                &format!("Chart of the number of tasks by {}", title.to_lowercase()),
            );
            html.close();
        }
        let name = format!("{title} as a table");
        data(html, &name, has_charts, |html| histogram_table(html, title, bins));
        html.close();
    }
    html.close();
    body.end();
}

fn histogram_table(html: &mut Markup, title: &str, bins: &[Bin]) {
    let columns = [
        ("from", Column::Text),
        ("below", Column::Number),
        ("tasks", Column::Number),
        ("", Column::Bar),
    ];
    table::begin(
        html,
        &format!("Tasks by {}", title.to_lowercase()),
        false,
        &columns,
    );
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1) as f64;
    for bin in bins {
        html.open("tr", &[]);
        table::heading(html, &duration(bin.from_us));
        table::number(html, &duration(bin.to_us));
        table::number(html, &count(bin.count));
        table::bar(html, bin.count as f64 / most, 0.0);
        html.close();
    }
    table::end(html);
}

/// Writes the place of a chart, and of what it says about the place of the pointer.
fn plot(html: &mut Markup, name: &str) {
    let name = format!("{name}. The table below sums up its data.");
    html.open(
        "div",
        &[("class", "plot"), ("role", "img"), ("aria-label", &name)],
    )
    .close();
    html.open("p", &[("class", "readout"), ("aria-hidden", "true")])
        .close();
}

/// Writes the table of a chart, which is folded if the chart is there.
fn data(html: &mut Markup, title: &str, has_charts: bool, write: impl FnOnce(&mut Markup)) {
    if !has_charts {
        return write(html);
    }
    html.open("details", &[]).element("summary", &[], title);
    write(html);
    html.close();
}
