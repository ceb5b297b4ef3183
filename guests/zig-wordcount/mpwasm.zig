//! Guest ABI 1 of mpwasm for Zig: its imports, and inputs and outputs as Zig values.

const std = @import("std");

/// Allocations live until the call ends, so none needs to be freed.
pub const allocator = arena.allocator();
var arena: std.heap.ArenaAllocator = .init(std.heap.wasm_allocator);

/// The imports of the ABI. Arguments that are out of bounds trap.
pub const host = struct {
    pub extern "mpwasm_v1" fn input_len() usize;
    pub extern "mpwasm_v1" fn input_read(to: [*]u8, offset: usize, len: usize) usize;
    pub extern "mpwasm_v1" fn output_write(from: [*]const u8, len: usize) void;
    pub extern "mpwasm_v1" fn fail(from: [*]const u8, len: usize) noreturn;
    pub extern "mpwasm_v1" fn push(from: [*]const u8, len: usize) i64;
    pub extern "mpwasm_v1" fn pid() i32;
    pub extern "mpwasm_v1" fn task_id() i64;
    pub extern "mpwasm_v1" fn attempt() i32;
    pub extern "mpwasm_v1" fn remaining_ms() i64;
    pub extern "mpwasm_v1" fn log(level: i32, from: [*]const u8, len: usize) void;
};

/// Exports a function under a name of the ABI, such as `runnable` or `square.callback`. Its errors fail the call.
pub fn exportAs(comptime name: []const u8, comptime function: fn () anyerror!void) void {
    const wrapper = struct {
        fn call() callconv(.c) i32 {
            function() catch |problem| fail(@errorName(problem));
            _ = arena.reset(.retain_capacity);
            return 0;
        }
    };
    @export(&wrapper.call, .{ .name = name });
}

/// Returns this call's input as a value: a task's args are a tuple, as in `input(struct { []const u8, u32 })`.
pub fn input(comptime T: type) !T {
    const bytes = try inputBytes();
    return std.json.parseFromSliceLeaky(T, allocator, bytes, .{ .ignore_unknown_fields = true });
}

/// Returns this call's raw input: JSON on one line.
pub fn inputBytes() ![]const u8 {
    const bytes = try allocator.alloc(u8, host.input_len());
    return bytes[0..host.input_read(bytes.ptr, 0, bytes.len)];
}

/// Appends a value to this call's output, as JSON.
pub fn output(value: anytype) !void {
    const json = try std.json.Stringify.valueAlloc(allocator, value, .{});
    host.output_write(json.ptr, json.len);
}

/// Ends the call as `error` with this message.
pub fn fail(message: []const u8) noreturn {
    host.fail(message.ptr, message.len);
}

/// A panic ends the call as `error`, with its message.
pub const panic = std.debug.FullPanic(struct {
    fn call(message: []const u8, _: ?usize) noreturn {
        fail(message);
    }
}.call);

/// Prints to stdout.
pub fn print(comptime format: []const u8, values: anytype) !void {
    const text = try std.fmt.allocPrint(allocator, format, values);
    try std.fs.File.stdout().writeAll(text);
}
