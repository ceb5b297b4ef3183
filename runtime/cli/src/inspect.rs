//! `mpwasm inspect`: shows a guest's exports, imports and memory, and why it would be refused.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mpwasm::escape::escape;
use mpwasm::{GuestInfo, ModelInfo, Settings};
use mpwasm_types::duration;
use serde::Serialize;

use crate::build::BuildOptions;
use crate::options::units::{display_size, size};
use crate::process::exit::{Exit, ExitError, OrExit};
use crate::terminal::escape::escape_json;
use crate::terminal::stdio;

/// `mpwasm inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .wasm or .wat file, or the directory of a guest crate (which is built first).
    #[arg(value_name = "GUEST")]
    pub guest: PathBuf,

    #[command(flatten)]
    pub building: BuildOptions,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The cap of linear memory that the guest's initial memory is held against.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MiB")]
    pub memory: u64,

    /// The elements of a table that the guest's tables are held against.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub max_table: u32,

    /// Longest time that the compilation of the guest may take.
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "30s")]
    pub compile_timeout: Duration,
}

/// Prints a description of the guest. The exit code says whether it would be accepted.
pub fn inspect(args: &InspectArgs) -> Result<Exit, ExitError> {
    let module = args.building.module(&args.guest)?;
    let settings = Settings {
        memory: args.memory,
        max_table: args.max_table,
        compile_timeout: args.compile_timeout,
        ..Settings::default()
    };
    let info = mpwasm::inspect(&module, &settings).map_err(ExitError::of_guest)?;
    let text = if args.json {
        let json = serde_json::to_string(&InspectJson::of(&info)).or_internal()?;
        match io::stdout().is_terminal() {
            true => escape_json(&json).into_owned() + "\n",
            false => json + "\n",
        }
    } else {
        describe(&info, &settings)
    };
    stdio::write_result(text.as_bytes())?;
    Ok(if info.refusals.is_empty() {
        Exit::Success
    } else {
        Exit::Usage
    })
}

/// The description as JSON.
#[derive(Serialize)]
struct InspectJson<'a> {
    accepted: bool,
    #[serde(flatten)]
    info: &'a GuestInfo,
}

impl<'a> InspectJson<'a> {
    fn of(info: &'a GuestInfo) -> Self {
        let accepted = info.refusals.is_empty();
        Self { accepted, info }
    }
}

/// Returns the description as a table with one subject per block. All names are escaped.
fn describe(info: &GuestInfo, settings: &Settings) -> String {
    let mut table = Table::default();
    let verdict = match info.refusals.len() {
        0 => "it would be accepted".to_owned(),
        1 => "it would be refused, for 1 reason".to_owned(),
        n => format!("it would be refused, for {n} reasons"),
    };
    table.block("verdict", [verdict]);
    table.block("refused", &info.refusals);
    table.block("warnings", &info.warnings);
    if info.is_command {
        table.block("command", ["_start, which takes arguments and stdin"]);
    } else {
        table.block("models", info.models.iter().map(describe_model));
    }
    let others = [("tasks", info.has_tasks), ("_initialize", info.has_initialize)];
    let others: Vec<&str> = others
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name)
        .collect();
    if !others.is_empty() {
        table.block("exports", [others.join(", ")]);
    }
    table.block(
        "memory",
        [info.memory.as_ref().map_or("none".to_owned(), |memory| {
            let initial = display_size(memory.initial);
            let maximum = memory.maximum.map_or("no maximum".to_owned(), |maximum| {
                format!("at most {}", display_size(maximum))
            });
            let cap = display_size(settings.memory);
            format!("{initial} at the start, {maximum} of its own; capped at {cap} per task")
        })],
    );
    let mut imports: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (module, name) in &info.imports {
        imports.entry(module).or_default().push(name);
    }
    table.block(
        "imports",
        imports
            .iter()
            .map(|(module, names)| format!("{module}: {}", names.join(", "))),
    );
    table.0
}

fn describe_model(model: &ModelInfo) -> String {
    let name = match model.name.as_str() {
        "" => "(unnamed)",
        name => name,
    };
    let exports: Vec<&str> = [
        Some(&model.runnable),
        model.callback.as_ref(),
        model.error_callback.as_ref(),
        model.final_callback.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(String::as_str)
    .collect();
    format!("{name}: {}", exports.join(", "))
}

/// Text in two columns.
#[derive(Default)]
struct Table(String);

impl Table {
    /// Adds lines, with the title beside the first one. Without lines it adds nothing.
    fn block<L: AsRef<str>>(&mut self, title: &str, lines: impl IntoIterator<Item = L>) {
        for (n, line) in lines.into_iter().enumerate() {
            let title = if n == 0 { title } else { "" };
            self.0 += &format!("{title:<10}{}\n", escape(line.as_ref()));
        }
    }
}

#[cfg(test)]
mod tests {
    use mpwasm::{InitialSizes, MemoryInfo};

    use super::*;

    fn demo() -> GuestInfo {
        GuestInfo {
            models: vec![
                ModelInfo {
                    name: String::new(),
                    runnable: "runnable".into(),
                    callback: Some("callback".into()),
                    error_callback: None,
                    final_callback: Some("final_callback".into()),
                },
                ModelInfo {
                    name: "Sum".into(),
                    runnable: "Sum$runnable".into(),
                    callback: None,
                    error_callback: None,
                    final_callback: None,
                },
            ],
            has_tasks: true,
            is_command: false,
            has_initialize: true,
            imports: vec![
                ("wasi_snapshot_preview1".into(), "fd_write".into()),
                ("mpwasm_v1".into(), "input_len".into()),
                ("mpwasm_v1".into(), "input_read".into()),
            ],
            memory: Some(MemoryInfo {
                initial: 1 << 20,
                maximum: None,
            }),
            initial: InitialSizes {
                memory: 1 << 20,
                table_elements: 9,
                tables: 1,
            },
            warnings: Vec::new(),
            refusals: Vec::new(),
        }
    }

    #[test]
    fn a_good_guest_is_described() {
        let expected = "\
verdict   it would be accepted
models    (unnamed): runnable, callback, final_callback
          Sum: Sum$runnable
exports   tasks, _initialize
memory    1.0 MiB at the start, no maximum of its own; capped at 256.0 MiB per task
imports   mpwasm_v1: input_len, input_read
          wasi_snapshot_preview1: fd_write
";
        assert_eq!(describe(&demo(), &Settings::default()), expected);
    }

    #[test]
    fn every_reason_for_a_refusal_is_a_line() {
        let mut info = demo();
        info.refusals = vec!["no memory is exported".into(), "it imports env.\x1b[2J".into()];
        info.warnings = vec!["its constructors never run".into()];
        let text = describe(&info, &Settings::default());
        assert!(
            text.starts_with(
                "verdict   it would be refused, for 2 reasons\nrefused   no memory is exported\n"
            )
        );
        assert!(text.contains("\nwarnings  its constructors never run\n"));
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn the_json_form_says_whether_the_guest_is_accepted() {
        let json = serde_json::to_value(InspectJson::of(&demo())).unwrap();
        assert_eq!(json["accepted"], true);
        assert_eq!(json["models"][1]["name"], "Sum");
        assert_eq!(json["memory"]["initial"], 1 << 20);
    }
}
