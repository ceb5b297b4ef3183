//! A command in Zig: an ordinary program, without anything of mpwasm, that counts the lines, words and bytes of its stdin.
//!
//!     echo one two | mpwasm exec wc.wasm

const std = @import("std");
const Counter = @import("count.zig").Counter;

pub fn main() !void {
    const stdin = std.fs.File.stdin();
    var counter: Counter = .{};
    var piece: [4096]u8 = undefined;
    while (true) {
        const len = try stdin.read(&piece);
        if (len == 0) break;
        counter.more(piece[0..len]);
    }
    const count = counter.count;
    var line: [80]u8 = undefined;
    const text = try std.fmt.bufPrint(&line, "{d} {d} {d}\n", .{ count.lines, count.words, count.bytes });
    try std.fs.File.stdout().writeAll(text);
}
