//! Tests of all forms of a report on a hostile log, with parsers of other projects.

use csv_core::ReadFieldResult;
use quick_xml::XmlVersion;
use quick_xml::events::Event;
use serde_json::{Value, json};

use crate::aggregator::Aggregator;
use crate::junit::JunitReport;
use crate::log_reader::{LogReader, RecordSink};
use crate::report::Report;
use crate::task_table::{COLUMNS, TaskTable};
use crate::text;

/// Text that a guest could choose.
pub const HOSTILE: &str =
    "</testcase><script>alert(1)</script>\u{1b}[2J\u{202e}\"';--\n\r\t\0\u{fffe}]]>&amp;<!--=1+1";

fn record(id: u64, fields: &Value) -> String {
    let mut record = json!({
        "id": id, "key": HOSTILE, "model": HOSTILE, "status": "ok", "result": HOSTILE, "attempts": 1, "worker": 0, "pid": 7,
        "started_us": 1_764_489_000_000_000_u64 + id * 1000, "queued_us": 10, "run_us": 1000 + id, "cpu_us": 10,
        "memory_peak": 65536, "stdout_bytes": 10, "output_truncated": false, "callback": "ok"
    });
    for (name, value) in fields.as_object().unwrap() {
        record[name] = value.clone();
    }
    format!("{record}\n")
}

/// Returns a log whose texts are all hostile.
fn hostile_log() -> String {
    let error = json!({"kind": "trap", "message": HOSTILE, "args": [HOSTILE], "id": 1, "attempt": 1, "backtrace": [HOSTILE]});
    let tried =
        json!([{"attempt": 1, "kind": "crash", "message": HOSTILE, "worker": 1, "pid": 8, "run_us": 5}]);
    [
        record(0, &json!({})),
        record(1, &json!({"status": "trap", "error": error, "callback": "trap"})),
        record(2, &json!({"attempts": 2, "tried": tried})),
        record(
            3,
            &json!({"attempts": 2, "tried": tried, "status": "crash", "error": error}),
        ),
        record(4, &json!({"status": "cancelled", "error": error, "tried": tried})),
        record(5, &json!({"callback": "timeout"})),
        HOSTILE.replace('\n', ""),
    ]
    .concat()
}

/// Reads the log whose texts are all hostile.
pub fn read(sink: &mut impl RecordSink) -> LogReader {
    let mut reader = LogReader::default();
    reader.read(HOSTILE, hostile_log().as_bytes(), sink).unwrap();
    reader
}

fn report() -> Report {
    let mut aggregator = Aggregator::new(10);
    let reader = read(&mut aggregator);
    aggregator.finish(reader.bad_lines())
}

#[test]
fn text_is_escaped_and_fits_80_columns() {
    let mut bytes = Vec::new();
    text::write(&report(), 10, false, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
    }
    for title in [
        "6 tasks: 3 ok, 3 failed",
        "Outcomes",
        "Throughput",
        "Slowest tasks",
        "Largest memory",
        "Most output",
        "Failures: 3 tasks in 3 groups",
        "Retries: 2 tasks",
        "Callbacks: 4 ok, 2 failed, 0 skipped",
        "Workers",
        "Left out: 1 line",
    ] {
        assert!(text.contains(title), "{title} is missing in\n{text}");
    }
}

#[test]
fn an_empty_log_has_a_report() {
    let report = Aggregator::new(10).finish(LogReader::default().bad_lines());
    let mut bytes = Vec::new();
    text::write(&report, 10, false, &mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), "0 tasks\n  logs       0\n");
}

#[test]
fn json_keeps_the_texts_as_they_are() {
    let json: Value = serde_json::from_str(&serde_json::to_string(&report()).unwrap()).unwrap();
    assert_eq!(json["logs"][0]["name"], HOSTILE);
    assert_eq!(json["slowest"][0]["key"], HOSTILE);
    assert_eq!(json["failures"]["groups"][0]["message"], HOSTILE);
}

#[test]
fn csv_has_a_row_for_each_task() {
    let mut bytes = Vec::new();
    let mut table = TaskTable::new(&mut bytes);
    read(&mut table);
    table.finish().unwrap();
    let rows = csv_rows(&bytes);
    assert_eq!(rows.len(), 7);
    assert_eq!(rows[0], COLUMNS);
    assert_eq!([&rows[2][0], &rows[2][3], &rows[2][6]], [HOSTILE; 3]);
    assert!(rows.iter().all(|row| row.len() == COLUMNS.len()));
}

/// Parses CSV.
fn csv_rows(mut bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv_core::Reader::new();
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    let mut field = vec![0; bytes.len()];
    loop {
        let (result, read, written) = reader.read_field(bytes, &mut field);
        bytes = &bytes[read..];
        match result {
            ReadFieldResult::Field { record_end } => {
                row.push(String::from_utf8(field[..written].to_vec()).unwrap());
                if record_end {
                    rows.push(std::mem::take(&mut row));
                }
            }
            ReadFieldResult::InputEmpty => assert!(bytes.is_empty()),
            ReadFieldResult::OutputFull => panic!("a field is longer than all of them"),
            ReadFieldResult::End => return rows,
        }
    }
}

#[test]
fn junit_has_a_test_case_for_each_task() {
    let mut bytes = Vec::new();
    let mut junit = JunitReport::new(&mut bytes);
    read(&mut junit);
    junit.finish().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let is_invalid = |c: char| (c < ' ' && !"\n\r\t".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}');
    assert!(!text.contains(is_invalid), "{text}");
    let mut elements = std::collections::BTreeMap::new();
    let mut names = Vec::new();
    let mut xml = quick_xml::Reader::from_str(&text);
    loop {
        match xml.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(element) | Event::Empty(element) => {
                let name = String::from_utf8(element.name().0.to_vec()).unwrap();
                for attribute in element.attributes() {
                    let attribute = attribute.unwrap();
                    if name == "testcase" && attribute.key.0 == b"name" {
                        names.push(
                            attribute
                                .normalized_value(XmlVersion::Implicit1_0)
                                .unwrap()
                                .into_owned(),
                        );
                    }
                }
                *elements.entry(name).or_insert(0) += 1;
            }
            _ => {}
        }
    }
    let expected = [
        ("error", 1),
        ("failure", 2),
        ("flakyError", 1),
        ("rerunError", 1),
        ("skipped", 1),
        ("testcase", 6),
        ("testsuite", 1),
        ("testsuites", 1),
    ];
    assert_eq!(
        elements.iter().map(|(name, n)| (&**name, *n)).collect::<Vec<_>>(),
        expected
    );
    assert!(
        names[0].starts_with(r"</testcase><script>alert(1)</script>\u{1b}[2J\u{202e}"),
        "{names:?}"
    );
}
