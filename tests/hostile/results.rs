//! Results of guests: too large, no JSON, JSON that is hard to parse, and ends without a result.

use crate::corpus::{fails, returns};

const TOO_LARGE: &str = "the result is larger than the limit of 16777216 bytes in `runnable`";

corpus! {
    result_too_large_at_once => fails("limit", TOO_LARGE);
    result_too_large_in_pieces => fails("limit", TOO_LARGE);
    message_of_50_mb => fails("error", " [cut]");

    json_not_utf8 => fails("error", "the result is not UTF-8 at byte 1");
    json_overlong => fails("error", "the result is not UTF-8 at byte 1");
    json_surrogate_as_bytes => fails("error", "the result is not UTF-8 at byte 1");
    json_lone_surrogate => returns(r#""\ud800""#);
    json_nul => fails("error", "the result is not JSON: control character");
    json_newline => fails("error", "the result is not JSON: control character");
    json_newlines_between => returns("[1,2]");
    json_separators => returns("\"\u{2028}\u{85}\"");
    json_escapes => returns(r#""\u001b[2J\u0000\n""#);
    json_huge_number => returns("1e999999999");
    json_duplicate_keys => returns(r#"{"a":1,"a":2,"id":7}"#);
    json_trailing => fails("error", "the result is not JSON: trailing characters");
    json_half => fails("error", "the result is not JSON: EOF");
    json_byte_order_mark => fails("error", "the result is not JSON: expected value");
    json_record => fails("error", "the result is not JSON: trailing characters");
    json_nothing => returns("null");
    json_deep => fails("error", "JSON nested deeper than 128");
    json_deep_error => fails("error", "[[[[[[[["); // text that is not JSON becomes the message
    json_space => returns("7");
    json_many => fails("error", "the result is not JSON: EOF");

    exit_zero => fails("exit", "proc_exit(0) in `runnable`");
    exit_huge => fails("exit", "proc_exit(-2147483648) in `runnable`");
    returns_a_huge_code => fails("error", "the guest returned -2147483648");
}
