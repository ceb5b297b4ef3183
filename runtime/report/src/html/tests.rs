//! Tests of whole pages, which a parser of XML reads.

use std::borrow::Cow;
use std::collections::BTreeSet;

use mpwasm_types::escape::escape;
use mpwasm_types::ids::{TaskId, WorkerNumber};
use mpwasm_types::outcome::CallbackStatus;
use quick_xml::events::Event;

use super::assets::{CHARTS, Charts, hash_source};
use super::document::render;
use super::page::ReportPage;
use super::sink::PageBuilder;
use crate::log_reader::{LogReader, RecordSink};
use crate::record::{RecordStatus, TaskRecord};
use crate::tests::{HOSTILE, read};

/// Stands for the library, which a build may lack.
const FAKE: Charts = Charts {
    library: "var uPlot = 1 < 2 && 3;",
    style: ".uplot > * {}",
    licence: "A licence.\n\nOf two paragraphs.",
    script: "\"use strict\";",
};

/// The elements and attributes of a page that can't do anything.
const ELEMENTS: &str = "a bdi body button caption dd details div dl dt figure footer h1 h2 h3 head header html li main meta nav p q \
    rect section span strong style summary svg table tbody td th thead title tr ul";
const ATTRIBUTES: &str = "aria-hidden aria-label aria-labelledby charset class content data-zoom height hidden href http-equiv id \
    lang name role scope tabindex type width x";

/// What is in a page.
#[derive(Default)]
struct Parsed {
    elements: Vec<String>,
    attributes: BTreeSet<String>,
    text: String,
    policy: String,
    /// The page without its scripts and styles.
    markup: String,
    /// The contents of its scripts and styles.
    code: Vec<String>,
}

/// Takes scripts and styles out of a page, which are no XML, and parses the rest.
fn parse(page: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").unwrap();
    let mut xml = String::new();
    while let Some(start) = rest.find("<script").into_iter().chain(rest.find("<style")).min() {
        let content = start + rest[start..].find('>').unwrap() + 1;
        let end = content + rest[content..].find("</").unwrap();
        parsed.code.push(rest[content..end].to_owned());
        xml += &rest[..content];
        rest = &rest[end..];
    }
    xml += rest;
    let mut reader = quick_xml::Reader::from_str(&xml);
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(element) => {
                depth += 1;
                parsed.add(&element);
            }
            Event::Empty(element) => parsed.add(&element),
            Event::End(_) => depth -= 1,
            Event::Text(text) => parsed.text += &text.decode().unwrap(),
            Event::GeneralRef(reference) => parsed.text.push(match &*reference.decode().unwrap() {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "#39" => '\'',
                other => panic!("&{other};"),
            }),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(depth, 0);
    parsed.markup = xml;
    parsed
}

impl Parsed {
    fn add(&mut self, element: &quick_xml::events::BytesStart<'_>) {
        self.elements
            .push(String::from_utf8(element.name().0.to_vec()).unwrap());
        for attribute in element.attributes() {
            let attribute = attribute.unwrap();
            let name = String::from_utf8(attribute.key.0.to_vec()).unwrap();
            let value = quick_xml::escape::unescape(str::from_utf8(&attribute.value).unwrap())
                .unwrap()
                .into_owned();
            if name == "content" && value.starts_with("default-src") {
                self.policy = value;
            }
            self.attributes.insert(name);
        }
    }

    fn count(&self, element: &str) -> usize {
        self.elements.iter().filter(|name| *name == element).count()
    }
}

fn hostile_page() -> ReportPage {
    let mut builder = PageBuilder::new(10);
    let reader = read(&mut builder);
    builder.finish(reader.bad_lines())
}

#[test]
fn hostile_text_is_shown_and_is_no_markup() {
    for charts in [None, Some(FAKE), CHARTS] {
        let page = render(&hostile_page(), charts);
        let parsed = parse(&page);
        let is_deceptive = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{fffe}');
        assert_eq!(parsed.markup.find(is_deceptive), None, "{}", parsed.markup);
        let scripts = if charts.is_some() { 3 } else { 0 };
        assert_eq!(parsed.count("script"), scripts);
        let known: BTreeSet<_> = ELEMENTS.split_whitespace().collect();
        for element in &parsed.elements {
            assert!(element == "script" || known.contains(&**element), "{element}");
        }
        let known: BTreeSet<_> = ATTRIBUTES.split_whitespace().collect();
        for attribute in &parsed.attributes {
            assert!(known.contains(&**attribute), "{attribute}");
        }
        let shown = escape(HOSTILE).replace('\u{fffe}', r"\u{fffe}");
        // In logs, keys, models, messages, patterns, frames, and the line that is no record.
        assert!(parsed.text.matches(&shown).count() >= 20, "{}", parsed.text);
    }
}

#[test]
fn the_policy_permits_the_code_of_the_page_only() {
    let page = render(&hostile_page(), Some(FAKE));
    let parsed = parse(&page);
    let [style, library_style, data, library, script] = &parsed.code[..] else {
        panic!("{}", parsed.code.len())
    };
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {} {}; base-uri 'none'; form-action 'none'",
        hash_source(library),
        hash_source(script),
        hash_source(style),
        hash_source(library_style)
    );
    assert_eq!(parsed.policy, policy);
    assert!(!data.contains(['<', '>', '&']));
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["timeline"]["tasks"].as_array().unwrap().len(), 6);

    let without = parse(&render(&hostile_page(), None));
    assert!(without.policy.contains("script-src 'none'"), "{}", without.policy);
}

#[test]
fn with_and_without_charts_there_are_the_same_tables() {
    let [without, with] = [None, Some(FAKE)].map(|charts| parse(&render(&hostile_page(), charts)));
    for element in ["table", "tr", "th", "td", "section", "h2"] {
        assert_eq!(without.count(element), with.count(element), "{element}");
    }
    assert_eq!((without.count("figure"), with.count("figure")), (0, 4));
    for title in [
        "Outcomes",
        "Times and sizes",
        "Workers over time",
        "Throughput",
        "Queue and run times",
        "Failures",
        "Slowest and largest tasks",
        "Retries",
        "Callbacks",
        "Workers",
        "Left out",
    ] {
        assert!(
            without.text.contains(title),
            "{title} is missing in\n{}",
            without.text
        );
    }
    assert!(with.text.contains("Of two paragraphs."));
}

#[test]
fn an_empty_log_has_a_page() {
    let page = PageBuilder::new(10).finish(LogReader::default().bad_lines());
    let parsed = parse(&render(&page, Some(FAKE)));
    assert!(parsed.text.contains("0 tasks"));
    assert_eq!((parsed.count("script"), parsed.count("section")), (0, 0));
}

/// Returns a page of many tasks with long texts, in two logs.
fn large_page(tasks: u64, workers: u32) -> ReportPage {
    let long: String = "\u{10ffff}<".repeat(300);
    let mut builder = PageBuilder::new(10);
    for log in ["a", "b"] {
        builder.begin_log(log).unwrap();
        for n in 0..tasks / 2 {
            let record = TaskRecord {
                id: TaskId(n),
                key: Some(Cow::Borrowed(&long)),
                model: Cow::Borrowed(&long),
                status: RecordStatus::Ok,
                error: None,
                attempts: 1,
                tried: Vec::new(),
                worker: Some(WorkerNumber(n as u32 % workers)),
                pid: Some(1),
                started_us: Some(1_764_489_000_000_000 + n * 1000),
                queued_us: Some(n),
                run_us: Some(n * 7919 % 100_000),
                cpu_us: None,
                memory_peak: None,
                stdout_bytes: 0,
                output_truncated: false,
                callback: CallbackStatus::None,
            };
            builder.record(n + 1, &record).unwrap();
        }
    }
    builder.finish(LogReader::default().bad_lines())
}

#[test]
fn a_page_is_small_however_many_tasks_and_workers_there_are() {
    for (tasks, workers) in [(2000, 7), (2002, 7), (200_000, 1), (200_000, 64), (200_000, 5000)] {
        let page = render(&large_page(tasks, workers), Some(FAKE));
        assert!(
            page.len() < 3 << 20,
            "{tasks} tasks, {workers} workers: {} bytes",
            page.len()
        );
        let parsed = parse(&page);
        let data: serde_json::Value = serde_json::from_str(&parsed.code[2]).unwrap();
        assert_eq!(data["timeline"]["tasks"].is_array(), tasks <= 2000);
        let lanes = data["timeline"]["lanes"].as_array().unwrap();
        assert!(lanes.len() <= 64);
        let ended = lanes.iter().flat_map(|lane| lane["ended"].as_array().unwrap());
        let ended: u64 = ended.map(|ended| ended.as_u64().unwrap()).sum();
        assert_eq!(ended, if tasks > 2000 { tasks } else { 0 });
    }
}
