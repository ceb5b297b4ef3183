//! Guests in Rust: models of the fixture (`guests/fixture`), which misbehave through the standard library.

use crate::corpus::{Bad, fails, returns, timeout, trap};

macro_rules! rust {
    ($($name:ident: $model:literal, $args:literal => $case:expr;)+) => {$(
        #[test]
        fn $name() {
            let case: Bad = $case;
            case.check_rust($model, $args);
        }
    )+};
}

rust! {
    spins: "spin", "[]" => timeout();
    sleeps: "sleep", "[3600000]" => timeout();
    fills_memory_in_bulk: "fill", "[]" => timeout();
    prints_for_ever: "flood", "[]" => timeout();
    recurses: "recurse", "[]" => trap("stack");
    aborts: "trap", "[]" => trap("unreachable");
    allocates_for_ever: "hog", "[]" => fails("memory", "");
    panics: "panic", "[]" => fails("error", "the fixture panics");
    exits: "exit", "[0]" => fails("exit", "");
    fails_with_escapes: "fail", r#"["\u001b[2J\u202e"]"# => fails("error", "\u{1b}[2J");
    returns_half_json: "raw", r#"["notjson"]"# => fails("error", "JSON");
    returns_json_of_a_million_levels: "raw", r#"["deep"]"# => fails("error", "JSON");
    pushes_outside_of_tasks: "push", "[]" => trap("`push` was called outside of `tasks`");
    prints_escapes: "print", r#"["\u001b[2J\u0007",""]"# => returns("null");
}
