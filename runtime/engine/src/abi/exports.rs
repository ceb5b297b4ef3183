//! Finds the models among a guest's exports, and the reasons to refuse the guest.
//!
//! Works on names and types alone. All problems are collected, so that the author of a guest sees them at once.

use std::borrow::Cow;
use std::fmt;

use wasmtime_environ::wasmparser::ValType;

use crate::module_types::{ItemType, PAGE};
use mpwasm_types::escape::MAX_DISPLAYED_NAME;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::{GuestInfo, MemoryInfo, ModelInfo};
use mpwasm_types::guest_info::{MAX_EXPORT_NAME, MAX_MODELS, MAX_REFUSALS};

/// The reasons to refuse a guest, one line each.
#[derive(Default)]
pub(crate) struct Refusals {
    lines: Vec<String>,
    more: usize,
}

impl Refusals {
    pub(crate) fn push(&mut self, line: String) {
        if self.lines.len() < MAX_REFUSALS {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more problems", self.more));
        }
        self.lines
    }
}

/// Returns a guest's name for a message: escaped, and its beginning only, since a name has up to 100 000 bytes.
pub(crate) fn brief(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_DISPLAYED_NAME) {
        Some((end, _)) => Cow::Owned(format!("{}...", escape(&name[..end]))),
        None => escape(name),
    }
}

/// Which export of a model an export is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExportKind {
    Runnable,
    Callback,
    ErrorCallback,
    FinalCallback,
}

const EXPORT_KINDS: [(ExportKind, &str); 4] = [
    // Longer names first: they end with the shorter one.
    (ExportKind::ErrorCallback, "error_callback"),
    (ExportKind::FinalCallback, "final_callback"),
    (ExportKind::Callback, "callback"),
    (ExportKind::Runnable, "runnable"),
];

/// A model whose exports are still being collected.
#[derive(Default)]
struct ModelDraft {
    name: String,
    exports: [Option<String>; EXPORT_KINDS.len()],
}

/// Fills `info` from the guest's exports, and collects the reasons to refuse the guest.
pub(crate) fn read<'a>(
    exports: impl Iterator<Item = (&'a str, ItemType<'a>)>,
    info: &mut GuestInfo,
    refusals: &mut Refusals,
) {
    let mut drafts: Vec<ModelDraft> = Vec::new();
    let mut has_start = false;
    for (name, ty) in exports {
        if name.len() > MAX_EXPORT_NAME && model_part(name).is_some() {
            refusals.push(format!(
                "the export name `{}` is longer than {MAX_EXPORT_NAME} bytes",
                brief(name)
            ));
            continue;
        }
        let expected = match name {
            "memory" => {
                read_memory(&ty, info, refusals);
                continue;
            }
            "initializer" => {
                refusals.push("the export name `initializer` is reserved".to_owned());
                continue;
            }
            "_initialize" => {
                info.has_initialize = true;
                ExpectedType::Nothing
            }
            "_start" => {
                has_start = true;
                ExpectedType::Nothing
            }
            "tasks" => {
                info.has_tasks = true;
                ExpectedType::Status
            }
            _ => match model_part(name) {
                Some((model, part)) => {
                    add(&mut drafts, model, part, name, refusals);
                    ExpectedType::Status
                }
                None => continue,
            },
        };
        if !expected.fits(&ty) {
            refusals.push(format!("the export `{}` is {ty}, not {expected}", brief(name)));
        }
    }
    if info.memory.is_none() {
        refusals.push("there is no exported memory named `memory`".to_owned());
    }
    finish_models(drafts, info, refusals);
    if info.models.is_empty() && !has_start {
        refusals.push("there is neither an export `runnable` nor `_start`".to_owned());
    }
    classify(has_start, info);
}

/// Reads the type of the export `memory`.
fn read_memory(ty: &ItemType<'_>, info: &mut GuestInfo, refusals: &mut Refusals) {
    match ty {
        ItemType::Memory(memory) => {
            let bytes = |pages: u64| pages.saturating_mul(PAGE);
            info.memory = Some(MemoryInfo {
                initial: bytes(memory.initial),
                maximum: memory.maximum.map(bytes),
            });
        }
        other => refusals.push(format!("the export `memory` is {other}, not a memory")),
    }
}

/// Decides whether the guest is a command, and warns if its `_start` never runs.
fn classify(has_start: bool, info: &mut GuestInfo) {
    info.is_command = has_start && info.models.is_empty();
    if info.is_command {
        info.models.push(ModelInfo {
            name: String::new(),
            runnable: "_start".to_owned(),
            callback: None,
            error_callback: None,
            final_callback: None,
        });
    }
    if has_start && !info.is_command && !info.has_initialize {
        info.warnings.push(
            "there are `_start` and `runnable` but no `_initialize`: the guest's constructors never run \
             (build it as a reactor or library)"
                .to_owned(),
        );
    }
}

/// Returns the model and the export that `name` stands for: `runnable`, `Name.runnable`, `Name$runnable` and so on.
fn model_part(name: &str) -> Option<(&str, ExportKind)> {
    EXPORT_KINDS.iter().find_map(|&(part, suffix)| {
        let rest = name.strip_suffix(suffix)?;
        if rest.is_empty() {
            return Some(("", part));
        }
        let model = rest.strip_suffix(['.', '$'])?;
        // A name that is only the separator is not a model.
        (!model.is_empty()).then_some((model, part))
    })
}

fn add(drafts: &mut Vec<ModelDraft>, model: &str, part: ExportKind, export: &str, refusals: &mut Refusals) {
    let index = match drafts.iter().position(|draft| draft.name == model) {
        Some(index) => index,
        // One more than allowed is enough to refuse the guest. A hostile guest has a million.
        None if drafts.len() > MAX_MODELS => return,
        None => {
            drafts.push(ModelDraft {
                name: model.to_owned(),
                ..ModelDraft::default()
            });
            drafts.len() - 1
        }
    };
    match &mut drafts[index].exports[part as usize] {
        Some(other) => refusals.push(format!(
            "the exports `{}` and `{}` are two spellings of one name",
            brief(other),
            brief(export)
        )),
        slot => *slot = Some(export.to_owned()),
    }
}

/// Turns the drafts into the models of `info`.
fn finish_models(mut drafts: Vec<ModelDraft>, info: &mut GuestInfo, refusals: &mut Refusals) {
    if drafts.len() > MAX_MODELS {
        refusals.push(format!("there are more than {MAX_MODELS} models"));
        drafts.truncate(MAX_MODELS);
    }
    // The sort is stable, so the other models keep their order.
    drafts.sort_by_key(|draft| !draft.name.is_empty());
    for ModelDraft { name, exports } in drafts {
        if name == "initializer" {
            refusals.push("the model name `initializer` is reserved".to_owned());
        }
        let [runnable, callback, error_callback, final_callback] = exports;
        match runnable {
            Some(runnable) => info.models.push(ModelInfo {
                name,
                runnable,
                callback,
                error_callback,
                final_callback,
            }),
            None => {
                for export in [callback, error_callback, final_callback].into_iter().flatten() {
                    let missing = match name.as_str() {
                        "" => "runnable".to_owned(),
                        name => format!("{}.runnable", brief(name)),
                    };
                    refusals.push(format!("there is `{}` but no `{missing}`", brief(&export)));
                }
            }
        }
    }
}

/// The type that an export must have.
#[derive(Clone, Copy)]
enum ExpectedType {
    /// `() -> i32`
    Status,
    /// `() -> ()`
    Nothing,
}

impl ExpectedType {
    fn fits(self, ty: &ItemType<'_>) -> bool {
        let ItemType::Func(ty) = ty else { return false };
        let results: &[ValType] = match self {
            Self::Status => &[ValType::I32],
            Self::Nothing => &[],
        };
        ty.params().is_empty() && ty.results() == results
    }
}

impl fmt::Display for ExpectedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "a function () -> i32",
            Self::Nothing => "a function () -> ()",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{accepted, refusals, settings};

    const MEMORY: &str = "(memory (export \"memory\") 1)";

    /// A guest with a memory and functions `() -> i32` of these names.
    fn exporting(names: &[&str]) -> String {
        let exports: String = names
            .iter()
            .map(|name| format!("(export {name:?} (func $f))"))
            .collect();
        format!("(module {MEMORY} (func $f (result i32) (i32.const 0)) {exports})")
    }

    fn info(wat: &str) -> GuestInfo {
        accepted(wat, &settings()).0
    }

    #[test]
    fn the_unnamed_model_comes_first_and_the_others_in_order() {
        let info = info(&exporting(&[
            "zeta.runnable",
            "alpha.callback",
            "alpha$runnable",
            "runnable",
            "alpha.error_callback",
            "error_callback",
            "something else",
        ]));
        let model =
            |name: &str, runnable: &str, callback: Option<&str>, error_callback: Option<&str>| ModelInfo {
                name: name.to_owned(),
                runnable: runnable.to_owned(),
                callback: callback.map(str::to_owned),
                error_callback: error_callback.map(str::to_owned),
                final_callback: None,
            };
        assert_eq!(
            info.models,
            [
                model("", "runnable", None, Some("error_callback")),
                model("zeta", "zeta.runnable", None, None),
                model(
                    "alpha",
                    "alpha$runnable",
                    Some("alpha.callback"),
                    Some("alpha.error_callback")
                ),
            ]
        );
        assert_eq!(info.model("alpha"), Some(2));
        assert!(!info.has_tasks && !info.is_command && !info.has_initialize);
    }

    #[test]
    fn a_final_callback_is_found_in_either_spelling_and_needs_its_runnable() {
        let info = info(&exporting(&[
            "runnable",
            "final_callback",
            "A.runnable",
            "A$final_callback",
        ]));
        let found: Vec<_> = info
            .models
            .iter()
            .map(|model| model.final_callback.as_deref())
            .collect();
        assert_eq!(found, [Some("final_callback"), Some("A$final_callback")]);
        assert_eq!(
            refusals(exporting(&["runnable", "A.final_callback"])),
            ["there is `A.final_callback` but no `A.runnable`"]
        );
    }

    #[test]
    fn a_model_name_may_hold_separators() {
        assert_eq!(info(&exporting(&["a.b$c.runnable"])).models[0].name, "a.b$c");
        // These are exports of no model.
        let others = ["runnable", ".runnable", "$callback", "xrunnable", "runnable.x"];
        assert_eq!(info(&exporting(&others)).models.len(), 1);
    }

    #[test]
    fn two_spellings_of_one_name_are_refused() {
        assert_eq!(
            refusals(exporting(&["A.runnable", "A$runnable"])),
            ["the exports `A.runnable` and `A$runnable` are two spellings of one name"]
        );
    }

    #[test]
    fn a_callback_needs_its_runnable() {
        assert_eq!(
            refusals(exporting(&["runnable", "A.callback", "A$error_callback"])),
            [
                "there is `A.callback` but no `A.runnable`",
                "there is `A$error_callback` but no `A.runnable`"
            ]
        );
        assert_eq!(
            refusals(exporting(&["A.runnable", "callback"])),
            ["there is `callback` but no `runnable`"]
        );
    }

    #[test]
    fn the_name_initializer_is_reserved() {
        assert_eq!(
            refusals(exporting(&["runnable", "initializer", "initializer.runnable"])),
            [
                "the export name `initializer` is reserved",
                "the model name `initializer` is reserved"
            ]
        );
    }

    #[test]
    fn sixty_four_models_are_the_most() {
        let names: Vec<String> = (0..65).map(|n| format!("m{n}.runnable")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(info(&exporting(&names[..64])).models.len(), 64);
        assert_eq!(refusals(exporting(&names)), ["there are more than 64 models"]);
    }

    #[test]
    fn a_wrong_signature_is_refused_with_both() {
        let wat = format!(
            "(module {MEMORY}
               (func (export \"runnable\") (param i32 i64) (result i32) (i32.const 0))
               (func (export \"callback\") (result i64) (i64.const 0))
               (func (export \"tasks\"))
               (func (export \"_initialize\") (result i32) (i32.const 0))
               (global (export \"X.runnable\") i32 (i32.const 0)))"
        );
        assert_eq!(
            refusals(wat),
            [
                "the export `runnable` is a function (i32, i64) -> i32, not a function () -> i32",
                "the export `callback` is a function () -> i64, not a function () -> i32",
                "the export `tasks` is a function () -> (), not a function () -> i32",
                "the export `_initialize` is a function () -> i32, not a function () -> ()",
                "the export `X.runnable` is a global, not a function () -> i32",
            ]
        );
    }

    #[test]
    fn the_memory_must_be_exported_as_memory() {
        let f = "(func $f (export \"runnable\") (result i32) (i32.const 0))";
        let none = "there is no exported memory named `memory`";
        assert_eq!(refusals(format!("(module {f})")), [none]);
        assert_eq!(refusals(format!("(module {f} (memory 1))")), [none]);
        assert_eq!(
            refusals(format!("(module {f} (export \"memory\" (func $f)))")),
            ["the export `memory` is a function () -> i32, not a memory", none]
        );
    }

    #[test]
    fn a_guest_without_models_is_a_command_or_nothing() {
        let start = format!("(module {MEMORY} (func (export \"_start\")))");
        let command = info(&start);
        assert!(command.is_command && command.warnings.is_empty());
        assert_eq!(command.models.len(), 1);
        assert_eq!(
            (
                command.models[0].name.as_str(),
                command.models[0].runnable.as_str()
            ),
            ("", "_start")
        );
        assert_eq!(
            refusals(exporting(&["tasks"])),
            ["there is neither an export `runnable` nor `_start`"]
        );
    }

    #[test]
    fn a_start_that_never_runs_is_worth_a_warning() {
        let guest = |more: &str| {
            format!(
                "(module {MEMORY} (func (export \"runnable\") (result i32) (i32.const 0))
                   (func (export \"_start\")) {more})"
            )
        };
        let warned = info(&guest(""));
        assert!(!warned.is_command);
        assert!(warned.warnings[0].contains("constructors never run"));
        assert_eq!(info(&guest("(func (export \"_initialize\"))")).warnings, [""; 0]);
    }

    #[test]
    fn names_in_messages_are_escaped() {
        let refused = refusals(exporting(&["runnable", "\u{1b}[2J\n\u{202e}.callback"]));
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0].chars().all(|c| c.is_ascii_graphic() || c == ' '),
            "{}",
            refused[0]
        );
    }

    #[test]
    fn a_flood_of_problems_is_counted() {
        let names: Vec<String> = (0..60).map(|n| format!("m{n}.callback")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let refused = refusals(exporting(&names));
        assert_eq!(refused.len(), MAX_REFUSALS + 1);
        assert_eq!(refused[MAX_REFUSALS], "and 11 more problems");
    }
}
