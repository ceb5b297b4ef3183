//! A model in Zig: it counts the lines, words and bytes of a text, and its callbacks add up the words of all texts.
//!
//!     printf '["one two"]\n["three\\n"]\n' | mpwasm run wordcount.wasm --tasks - --results -

const mpwasm = @import("mpwasm.zig");
const Count = @import("count.zig").Count;
const Counter = @import("count.zig").Counter;

pub const panic = mpwasm.panic;

/// Args: `[text]`. Runs in a worker, in a fresh instance for each task.
fn runnable() !void {
    const args = mpwasm.input(struct { []const u8 }) catch
        mpwasm.fail("the args should be one text, as in [\"one two\"]");
    var counter: Counter = .{};
    counter.more(args[0]);
    try mpwasm.output(counter.count);
}

/// Totals of all tasks so far. Callbacks run in the dispatcher, in an instance that is kept.
var words: usize = 0;
var failures: usize = 0;

/// Input: the output of `runnable`.
fn callback() !void {
    const result = try mpwasm.input(Count);
    words += result.words;
    try mpwasm.print("{d} words so far\n", .{words});
}

/// Input: the error object, as in the task's record.
fn errorCallback() !void {
    failures += 1;
    try mpwasm.print("failed: {s}\n", .{try mpwasm.inputBytes()});
}

/// Output: the final value of the run.
fn finalCallback() !void {
    try mpwasm.output(.{ .words = words, .failures = failures });
}

comptime {
    mpwasm.exportAs("runnable", runnable);
    mpwasm.exportAs("callback", callback);
    mpwasm.exportAs("error_callback", errorCallback);
    mpwasm.exportAs("final_callback", finalCallback);
}
