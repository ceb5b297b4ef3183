//! Counts lines, words and bytes: what the model and the command share.

const std = @import("std");

/// The result of a task.
pub const Count = struct {
    lines: usize = 0,
    words: usize = 0,
    bytes: usize = 0,
};

/// Counts a text that comes in pieces.
pub const Counter = struct {
    count: Count = .{},
    in_word: bool = false,

    pub fn more(self: *Counter, text: []const u8) void {
        for (text) |byte| {
            const blank = std.ascii.isWhitespace(byte);
            if (byte == '\n') self.count.lines += 1;
            if (!blank and !self.in_word) self.count.words += 1;
            self.in_word = !blank;
        }
        self.count.bytes += text.len;
    }
};
