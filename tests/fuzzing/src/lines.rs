//! Text from task lines and guests: read, checked, and shown in a record and on a terminal.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::Verdict;
use mpwasm_report::aggregator::Aggregator;
use mpwasm_report::html::{self, PageBuilder};
use mpwasm_report::junit::JunitReport;
use mpwasm_report::log_reader::LogReader;
use mpwasm_report::task_table::TaskTable;
use mpwasm_report::text as report_text;
use mpwasm_types::escape::{escape, escape_bytes};
use mpwasm_types::ids::TaskId;
use mpwasm_types::json::MAX_JSON_DEPTH;
use mpwasm_types::json::one_line;
use mpwasm_types::outcome::{CallbackStatus, Failure, Kind, Outcome, TaskError, Usage};
use mpwasm_types::record_line::RecordLine;
use mpwasm_types::task_check::check_args;
use mpwasm_types::task_line::{MAX_KEY, TaskLine};

/// Small enough that a fuzzer reaches larger args.
const MAX_ARGS: u64 = 1000;

/// Handles `input` as a task line, as a task that `tasks` pushed, as a guest's result and as every text of a record.
///
/// # Panics
/// When an invariant of one of them is broken.
#[must_use]
pub fn lines(input: &[u8]) -> Verdict {
    json(input);
    let record = read_record(input);
    report(input);
    shown(input);
    outcome(input);
    let line = TaskLine::parse(input).map(|line| line.map(|line| task(&line)));
    let pushed = TaskLine::parse_pushed(input).map(|line| task(&line));
    if line.is_ok() || pushed.is_ok() || record {
        Verdict::Taken
    } else {
        Verdict::Refused
    }
}

/// Checks that the parts of a task line are within the bounds, and that its args are unchanged.
fn task(line: &TaskLine) {
    assert!(line.timeout != Some(Duration::ZERO), "it would never run");
    assert!(line.key.as_ref().is_none_or(|key| key.len() <= MAX_KEY));
    let Ok(args) = check_args(Cow::Borrowed(&line.args), MAX_ARGS) else {
        return;
    };
    assert!(line.args.get().len() as u64 <= MAX_ARGS);
    assert!(args.get().starts_with('['), "args are an array");
    assert!(is_one_line(args.get()));
    assert_same(args.get().as_bytes(), line.args.get().as_bytes());
}

/// Reads the input as a line of a records file. Returns whether it is one.
fn read_record(line: &[u8]) -> bool {
    let Ok(record) = RecordLine::parse(line) else {
        return false;
    };
    let whole: Value = serde_json::from_slice(line).unwrap_or_default();
    // The parser of the whole line has a limit of depth.
    assert!(whole.is_null() || whole["id"] == record.id.0 && whole["key"].as_str() == record.key.as_deref());
    assert!(record.failed() || record.status == "ok");
    let _ = record.hashes();
    true
}

/// Makes a report of the input as a log, in each form. Returns its number of tasks.
fn report(log: &[u8]) -> u64 {
    const TO_MEMORY: &str = "a log and a report in memory can be read and written";
    let (mut reader, mut aggregator) = (LogReader::default(), Aggregator::new(10));
    reader.read("log", log, &mut aggregator).expect(TO_MEMORY);
    let report = aggregator.finish(reader.bad_lines());
    let (mut text, mut csv, mut xml) = (Vec::new(), Vec::new(), Vec::new());
    report_text::write(&report, 10, false, &mut text).expect(TO_MEMORY);
    let text = String::from_utf8(text).expect("a report is UTF-8");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    let (mut reader, mut builder) = (LogReader::default(), PageBuilder::new(10));
    reader.read("log", log, &mut builder).expect(TO_MEMORY);
    let mut page = Vec::new();
    html::write(&builder.finish(reader.bad_lines()), &mut page).expect(TO_MEMORY);
    assert!(page.ends_with(b"</html>\n"));
    let mut table = TaskTable::new(&mut csv);
    LogReader::default()
        .read("log", log, &mut table)
        .expect(TO_MEMORY);
    table.finish().expect(TO_MEMORY);
    let mut junit = JunitReport::new(&mut xml);
    LogReader::default()
        .read("log", log, &mut junit)
        .expect(TO_MEMORY);
    junit.finish().expect(TO_MEMORY);
    let xml = String::from_utf8(xml).expect("a report is UTF-8");
    assert!(!xml.chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(xml.matches("<testcase").count() as u64, report.tasks.total);
    report.tasks.total
}

/// Checks that only JSON is accepted, and that it keeps its meaning when it is put on one line.
fn json(bytes: &[u8]) {
    let ours = one_line(bytes, MAX_JSON_DEPTH);
    // The parser has its own limit of depth, which is not below ours.
    let theirs = serde_json::from_slice::<Value>(bytes);
    match &ours {
        Ok(line) => {
            assert!(is_one_line(line));
            assert_eq!(
                one_line(line.as_bytes(), MAX_JSON_DEPTH).ok().as_deref(),
                Some(&**line)
            );
            assert_same(line.as_bytes(), bytes);
        }
        Err(error) => assert!(theirs.is_err(), "refused, but JSON: {error}"),
    }
}

/// Asserts that two JSON texts are equal. Some numbers are JSON that this parser can't read; then it must read neither
/// text.
#[track_caller]
fn assert_same(one: &[u8], other: &[u8]) {
    let [one, other] = [one, other].map(|json| serde_json::from_slice::<Value>(json).ok());
    assert_eq!(one, other);
}

/// Checks that escaped text has no control characters, and no newline if it must be one line.
fn shown(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let safe = escape(&text);
    assert!(!safe.chars().any(char::is_control));
    assert_eq!(escape(&safe), safe, "what is inert stays as it is");
    let safe = escape_bytes(bytes);
    let safe = std::str::from_utf8(&safe).expect("what was no UTF-8 is an escape");
    assert!(!safe.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
}

/// Checks the record of a task of which every text is the input.
fn outcome(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let json = one_line(bytes, MAX_JSON_DEPTH).ok();
    let json = || json.as_ref().map(|json| json.clone().into_owned());
    let failure = Failure {
        data: json(),
        backtrace: vec![
            text.clone(),
            format!("_ZN{text}E @ 0x1"),
            format!("_R{text} @ 0x1"),
        ],
        ..Failure::new(Kind::Error, text.clone())
    };
    let args = RawValue::from_string(text.clone())
        .ok()
        .and_then(|args| check_args(Cow::Owned(args), MAX_ARGS).ok())
        .map_or_else(|| "[]".to_owned(), |args| args.get().to_owned());
    let error = TaskError::new(failure, &args, TaskId(1), 1);
    let read: Option<TaskError> = serde_json::to_string(&error)
        .ok()
        .and_then(|json| serde_json::from_str(&json).ok());
    let read = read.expect("what goes to `error_callback` can be read there");
    assert_eq!((read.message.as_str(), read.args.get()), (text.as_str(), &*args));
    let result = json().map(|json| RawValue::from_string(json).expect("it was checked"));
    for result in [Some(Err(error)), result.map(Ok)].into_iter().flatten() {
        record(&Outcome {
            id: TaskId(1),
            key: Some(text.clone()),
            model: text.clone(),
            result,
            attempts: 1,
            tried: Vec::new(),
            usage: Usage::default(),
            callback: CallbackStatus::None,
        });
    }
}

/// Asserts that a record is one line of JSON with the same contents as the outcome.
pub(super) fn record(outcome: &Outcome) {
    let record = serde_json::to_string(outcome).expect("every outcome has a record");
    assert!(is_one_line(&record), "a record of several lines: {record:?}");
    let fields: HashMap<&str, &RawValue> = serde_json::from_str(&record).expect("a record is a JSON object");
    let text = |field: &str| serde_json::from_str::<String>(fields[field].get()).expect("a string");
    assert_eq!(report(record.as_bytes()), 1);
    assert_eq!(fields["id"].get(), outcome.id.to_string());
    let read = RecordLine::parse(record.as_bytes()).expect("a later run can read it");
    assert_eq!(
        (read.id, read.key.as_deref()),
        (outcome.id, outcome.key.as_deref())
    );
    assert_eq!(read.status, outcome.status());
    assert_eq!(text("model"), outcome.model);
    assert_eq!(text("status"), outcome.status());
    // The record's own depth is added to that of its contents.
    one_line(record.as_bytes(), MAX_JSON_DEPTH + 2).expect("a record can be read by those who read ours");
}

fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}
