//! Formats the table of verdicts: a line per submission, a column per test.

use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{ContentArrangement, Table, presets};
use mpwasm::escape::escape;

use crate::verdict::{Judged, TestResult};

/// Returns the table, without a newline at its end. Text that a submission chose is escaped.
pub fn of(judged: &[Judged]) -> String {
    let tests = judged.iter().filter_map(|judged| judged.results.as_ref().ok());
    let tests = tests.map(Vec::len).max().unwrap_or(0);
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let numbers = (1..=tests).map(|test| format!("test {test}"));
    table.set_header(
        [
            vec!["submission".into()],
            numbers.collect(),
            vec!["verdict".into()],
        ]
        .concat(),
    );
    for judged in judged {
        let mut cells = match &judged.results {
            Ok(results) => results.iter().map(cell).collect(),
            Err(_) => Vec::new(),
        };
        cells.resize(tests, String::new());
        cells.insert(0, escape(&judged.name).into_owned());
        cells.push(judged.verdict());
        table.add_row(cells);
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table.trim_fmt()
}

/// Returns a cell of the table: verdict, CPU time and memory.
fn cell(result: &TestResult) -> String {
    let time = result.time.map_or("?".into(), shown);
    let memory = result
        .memory
        .map_or("?".into(), |bytes| ByteSize::b(bytes).display().iec().to_string());
    format!("{}, {time}, {memory}", result.verdict.word())
}

fn shown(time: Duration) -> String {
    match time {
        short if short < Duration::from_millis(100) => format!("{:.2} ms", short.as_secs_f64() * 1e3),
        long => format!("{:.2} s", long.as_secs_f64()),
    }
}
