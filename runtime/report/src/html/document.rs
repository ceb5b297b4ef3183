//! The page as a whole.

use std::io::{self, Write};

use crate::html::assets::{CHARTS, Charts, STYLE, hash_source};
use crate::html::body::Body;
use crate::html::data::Data;
use crate::html::markup::Markup;
use crate::html::page::ReportPage;
use crate::html::{charts, failures, lists, summary};
use crate::report::Report;
use crate::text::figures::{count, plural};

/// Writes a page. It has charts if `cargo xtask report-assets` had been run before this crate was built.
///
/// # Errors
/// When the writer fails.
pub fn write(page: &ReportPage, mut writer: impl Write) -> io::Result<()> {
    writer.write_all(render(page, CHARTS).as_bytes())
}

/// Returns the HTML with or without charts.
pub fn render(page: &ReportPage, charts: Option<Charts>) -> String {
    let charts = charts.filter(|_| page.report.tasks.total > 0);
    let body = body_of(page, charts.is_some());
    let mut html = Markup::default();
    html.open("html", &[("lang", "en")]);
    head(&mut html, &page.report, charts);
    html.open("body", &[]);
    html.element(
        "a",
        &[("class", "skip"), ("href", "#report")],
        "Skip to the report",
    );
    html.open("header", &[]);
    summary::header(&mut html, &page.report);
    if body.titles.len() > 1 {
        html.open("nav", &[("aria-label", "Sections")]).open("ul", &[]);
        for (id, title) in &body.titles {
            html.open("li", &[])
                .element("a", &[("href", &format!("#{id}"))], title)
                .close();
        }
        html.close().close();
    }
    html.close();
    html.open("main", &[("id", "report"), ("tabindex", "-1")]);
    html.append(body.html).close();
    footer(&mut html, charts);
    if let Some(charts) = charts {
        let data = Data::of(page).to_json();
        html.code("script", &[("type", "application/json"), ("id", "data")], &data);
        html.code("script", &[], charts.library)
            .code("script", &[], charts.script);
    }
    format!("<!DOCTYPE html>\n{}\n", html.finish())
}

fn head(html: &mut Markup, report: &Report, charts: Option<Charts>) {
    let styles = [Some(STYLE), charts.map(|charts| charts.style)];
    let scripts = [
        charts.map(|charts| charts.library),
        charts.map(|charts| charts.script),
    ];
    let sources =
        |codes: [Option<&str>; 2]| match codes.into_iter().flatten().map(hash_source).collect::<Vec<_>>() {
            hashes if hashes.is_empty() => "'none'".to_owned(),
            hashes => hashes.join(" "),
        };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        sources(scripts),
        sources(styles)
    );
    let tasks = &report.tasks;
    let title = format!(
        "mpwasm report: {}, {} failed",
        plural(tasks.total, "task"),
        count(tasks.failed)
    );
    html.open("head", &[])
        .open("meta", &[("charset", "utf-8")])
        .open(
            "meta",
            &[("http-equiv", "Content-Security-Policy"), ("content", &policy)],
        )
        .open(
            "meta",
            &[
                ("name", "viewport"),
                ("content", "width=device-width, initial-scale=1"),
            ],
        )
        .open("meta", &[("name", "color-scheme"), ("content", "light dark")])
        .open("meta", &[("name", "referrer"), ("content", "no-referrer")])
        .element("title", &[], &title);
    for style in styles.into_iter().flatten() {
        html.code("style", &[], style);
    }
    html.close();
}

fn body_of(page: &ReportPage, has_charts: bool) -> Body {
    let mut body = Body::default();
    let report = &page.report;
    if report.tasks.total > 0 {
        summary::outcomes(&mut body, report);
        summary::distributions(&mut body, report);
        if let Some(timeline) = &page.timeline {
            charts::timeline(&mut body, timeline, report, has_charts);
        }
        if let Some(throughput) = &report.throughput {
            charts::throughput(&mut body, throughput, has_charts);
        }
        charts::histograms(&mut body, report, has_charts);
        failures::failures(&mut body, report);
        lists::largest(&mut body, report);
        failures::retries(&mut body, report);
        failures::callbacks(&mut body, report);
        lists::workers(&mut body, report, page.top);
        lists::logs(&mut body, report, page.top);
    }
    lists::bad_lines(&mut body, report);
    body
}

fn footer(html: &mut Markup, charts: Option<Charts>) {
    html.open("footer", &[]);
    html.element(
        "p",
        &[],
        concat!(
            "Written by mpwasm ",
            env!("CARGO_PKG_VERSION"),
            ". Times of day are UTC."
        ),
    );
    match charts {
        Some(charts) => {
            html.open("details", &[]);
            html.element(
                "summary",
                &[],
                "The charts are drawn by uPlot, whose licence is MIT",
            );
            html.open("div", &[("class", "licence")]);
            for paragraph in charts.licence.split("\n\n") {
                html.element("p", &[], &paragraph.replace('\n', " "));
            }
            html.close().close();
        }
        None => {
            html.element(
                "p",
                &[],
                "This build of mpwasm has no charts: the tables sum up the data.",
            );
        }
    }
    html.close();
}
