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
    pub extern "mpwasm_v1" fn object_open(target: [*]const u8, len: usize) i32;
    pub extern "mpwasm_v1" fn object_call(object: i32, operation: [*]const u8, operation_len: usize, args: [*]const u8, args_len: usize, timeout_ms: i64) i32;
    pub extern "mpwasm_v1" fn object_reply_len() usize;
    pub extern "mpwasm_v1" fn object_reply(to: [*]u8, offset: usize, len: usize) usize;
    pub extern "mpwasm_v1" fn object_info(object: i32) i64;
    pub extern "mpwasm_v1" fn number_int(object: i32, index: u32, operation: i32, a: i64, b: i64) i64;
    pub extern "mpwasm_v1" fn number_float(object: i32, index: u32, operation: i32, a: f64, b: f64) f64;
};

/// Exports a function under a name of the ABI, such as `runnable` or `square.callback`. Its errors fail the call.
pub fn exportAs(comptime name: []const u8, comptime function: fn () anyerror!void) void {
    const wrapper = struct {
        fn call() callconv(.c) i32 {
            function() catch |problem| fail(objects.message(problem) orelse @errorName(problem));
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

/// Objects that tasks share. A function takes one in its args, as in `input(struct { objects.Queue(u32), u32 })`, or by the name that
/// was granted to the pool, as in `objects.Queue(u32).named("jobs")`. It can be used in the call that opened it. Operations that
/// wait take a timeout in milliseconds; `forever` is until the deadline of the call.
pub const objects = struct {
    pub const forever: i64 = -1;

    /// Why an operation failed. A call that ends with such an error ends as `error`, with a message that names the object.
    pub const Error = error{
        Empty,
        Full,
        Timeout,
        Closed,
        Broken,
        NotOwner,
        NoSuchObject,
        WrongType,
        TooLarge,
        OutOfMemory,
        Unavailable,
        Deadlock,
        Missing,
        Invalid,
        /// The host has an error that this file does not know.
        Unknown,
    };

    /// Returns the message of the last failed operation, if it failed with this error.
    pub fn message(problem: anyerror) ?[]const u8 {
        const failed = last orelse return null;
        if (failed.problem != problem) return null;
        const Reply = struct { message: []const u8 };
        const parsed = std.json.parseFromSliceLeaky(Reply, allocator, failed.reply, .{ .ignore_unknown_fields = true }) catch return null;
        return parsed.message;
    }

    var last: ?struct { problem: Error, reply: []const u8 } = null;

    /// Returns the error for the negative number that an import returned.
    fn failure(code: i32) Error {
        const all = [_]Error{ error.Empty, error.Full, error.Timeout, error.Closed, error.Broken, error.NotOwner, error.NoSuchObject, error.WrongType, error.TooLarge, error.OutOfMemory, error.Unavailable, error.Deadlock, error.Missing, error.Invalid };
        const index: usize = @intCast(-code - 1);
        const problem = if (index < all.len) all[index] else error.Unknown;
        last = .{ .problem = problem, .reply = reply() catch "{}" };
        return problem;
    }

    fn reply() ![]const u8 {
        const bytes = try allocator.alloc(u8, host.object_reply_len());
        return bytes[0..host.object_reply(bytes.ptr, 0, bytes.len)];
    }

    /// What names an object: a handle, or without a token the name that was granted to the pool.
    const Handle = struct { object: []const u8, token: ?[]const u8 = null };

    /// An object that this call has tried to open.
    const Object = struct {
        handle: Handle,
        /// Negative if it can't be used: each operation then fails with this code.
        descriptor: i32,

        fn open(handle: Handle, kinds: []const u8, number: u8) Object {
            const opened = if (handle.token) |token| with_token: {
                const json = std.json.Stringify.valueAlloc(allocator, .{ .object = handle.object, .token = token }, .{}) catch break :with_token -10;
                break :with_token host.object_open(json.ptr, json.len);
            } else host.object_open(handle.object.ptr, handle.object.len);
            if (opened < 0) return .{ .handle = handle, .descriptor = opened };
            const info = host.object_info(opened);
            const fits = std.mem.indexOfScalar(u8, kinds, @truncate(@as(u64, @bitCast(info)))) != null and
                @as(u8, @truncate(@as(u64, @bitCast(info >> 8)))) == number;
            return .{ .handle = handle, .descriptor = if (fits) opened else -8 };
        }

        fn call(self: Object, comptime Reply: type, operation: []const u8, args: anytype, timeout_ms: i64) !Reply {
            if (self.descriptor < 0) return failure(self.descriptor);
            const json = if (args.len == 0) "[]" else try std.json.Stringify.valueAlloc(allocator, args, .{});
            const length = host.object_call(self.descriptor, operation.ptr, operation.len, json.ptr, json.len, timeout_ms);
            if (args.len != 0) allocator.free(json);
            if (length < 0) return failure(length);
            if (Reply == void) return;
            const bytes = try reply();
            const value = try std.json.parseFromSliceLeaky(Reply, allocator, bytes, .{ .ignore_unknown_fields = true });
            // Numbers don't refer to the text, which a loop of many operations must not keep.
            switch (@typeInfo(Reply)) {
                .int, .float, .bool => allocator.free(bytes),
                else => {},
            }
            return value;
        }

        fn lock(self: Object, timeout_ms: i64) !Guard {
            const Acquired = struct { abandoned: bool = false };
            const acquired = try self.call(Acquired, "acquire", .{}, timeout_ms);
            return .{ .object = self, .abandoned = acquired.abandoned };
        }
    };

    /// A lock that is held. `abandoned` says that the holder before ended without releasing it.
    pub const Guard = struct {
        object: Object,
        abandoned: bool,

        /// Releases the lock: `defer guard.release()`. It is released when the call ends, too.
        pub fn release(self: Guard) void {
            self.object.call(void, "release", .{}, 0) catch {};
        }

        /// Of a condition: releases the lock, waits for a notification, and acquires the lock again. Returns whether a notification came.
        pub fn wait(self: *Guard, timeout_ms: i64) !bool {
            const Waited = struct { notified: bool, abandoned: bool = false };
            const waited = try self.object.call(Waited, "wait", .{}, timeout_ms);
            self.abandoned = waited.abandoned;
            return waited.notified;
        }

        /// Of a condition: wakes all tasks that wait.
        pub fn notifyAll(self: Guard) !void {
            return self.object.call(void, "notify_all", .{}, 0);
        }
    };

    /// What all objects have: opened by name, read from args, and written as a handle to be passed on.
    fn Proxy(comptime Self: type, comptime kinds: []const u8, comptime number: u8) type {
        return struct {
            pub fn named(name: []const u8) Self {
                return .{ .object = .open(.{ .object = name }, kinds, number) };
            }

            pub fn jsonParse(gpa: std.mem.Allocator, source: anytype, options: std.json.ParseOptions) std.json.ParseError(@TypeOf(source.*))!Self {
                const handle = try std.json.innerParse(Handle, gpa, source, options);
                return .{ .object = .open(handle, kinds, number) };
            }

            pub fn jsonStringify(self: Self, json: anytype) !void {
                const handle = self.object.handle;
                if (handle.token) |token| {
                    try json.write(.{ .object = handle.object, .token = token });
                } else {
                    try json.write(.{ .object = handle.object });
                }
            }
        };
    }

    /// A queue of items, joinable or not.
    pub fn Queue(comptime T: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{ 10, 11 }, 0);
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            /// Waits while the queue is full. Fails with `Timeout`, with `Full` if it may not wait, and with `Closed`.
            pub fn put(self: Self, item: T, timeout_ms: i64) !void {
                return self.object.call(void, "put", .{item}, timeout_ms);
            }

            /// Waits while the queue is empty. Fails with `Timeout`, with `Empty` if it may not wait, and with `Closed`.
            pub fn get(self: Self, timeout_ms: i64) !T {
                return self.object.call(T, "get", .{}, timeout_ms);
            }

            pub fn size(self: Self) !usize {
                return self.object.call(usize, "qsize", .{}, 0);
            }

            pub fn close(self: Self) !void {
                return self.object.call(void, "close", .{}, 0);
            }

            /// Of a joinable queue: says that an item which this call has taken is done.
            pub fn taskDone(self: Self) !void {
                return self.object.call(void, "task_done", .{}, 0);
            }

            /// Of a joinable queue: waits until all items are done.
            pub fn join(self: Self, timeout_ms: i64) !void {
                return self.object.call(void, "join", .{}, timeout_ms);
            }
        };
    }

    /// An end of a pipe.
    pub fn Connection(comptime T: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{12}, 0);
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            pub fn send(self: Self, value: T) !void {
                return self.object.call(void, "send", .{value}, forever);
            }

            /// Fails with `Closed` when the other end is closed and everything was received.
            pub fn recv(self: Self, timeout_ms: i64) !T {
                return self.object.call(T, "recv", .{}, timeout_ms);
            }

            pub fn poll(self: Self, timeout_ms: i64) !bool {
                return self.object.call(bool, "poll", .{}, timeout_ms);
            }

            pub fn close(self: Self) !void {
                return self.object.call(void, "close", .{}, 0);
            }
        };
    }

    /// A map from keys, which are strings, numbers or bools, to values.
    pub fn Dict(comptime K: type, comptime V: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{13}, 0);
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            pub fn get(self: Self, key: K) !?V {
                return self.object.call(V, "get", .{key}, 0) catch |problem| if (problem == error.Missing) null else problem;
            }

            pub fn set(self: Self, key: K, value: V) !void {
                return self.object.call(void, "set", .{ key, value }, 0);
            }

            /// Adds to the value of a key, in one step, and returns the sum.
            pub fn add(self: Self, key: K, number: V) !V {
                return self.object.call(V, "add", .{ key, number }, 0);
            }

            /// Fails with `Missing` when there is no such key.
            pub fn remove(self: Self, key: K) !void {
                return self.object.call(void, "remove", .{key}, 0);
            }

            pub fn len(self: Self) !usize {
                return self.object.call(usize, "len", .{}, 0);
            }
        };
    }

    /// A list of values. A negative index counts from the end.
    pub fn List(comptime T: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{14}, 0);
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            pub fn get(self: Self, index: i64) !T {
                return self.object.call(T, "get", .{index}, 0);
            }

            pub fn set(self: Self, index: i64, value: T) !void {
                return self.object.call(void, "set", .{ index, value }, 0);
            }

            pub fn append(self: Self, value: T) !void {
                return self.object.call(void, "append", .{value}, 0);
            }

            pub fn len(self: Self) !usize {
                return self.object.call(usize, "len", .{}, 0);
            }
        };
    }

    /// A lock, an rlock, or a condition.
    pub const Lock = struct {
        object: Object,

        const proxy = Proxy(Lock, &.{ 3, 4, 8 }, 0);
        pub const named = proxy.named;
        pub const jsonParse = proxy.jsonParse;
        pub const jsonStringify = proxy.jsonStringify;

        /// Waits for the lock. Fails with `Timeout`, and with `Deadlock` when the wait would never end.
        pub fn acquire(self: Lock, timeout_ms: i64) !Guard {
            return self.object.lock(timeout_ms);
        }
    };

    /// A semaphore, bounded or not. A permit is given back when the call ends, too.
    pub const Semaphore = struct {
        object: Object,

        const proxy = Proxy(Semaphore, &.{ 5, 6 }, 0);
        pub const named = proxy.named;
        pub const jsonParse = proxy.jsonParse;
        pub const jsonStringify = proxy.jsonStringify;

        pub fn acquire(self: Semaphore, timeout_ms: i64) !void {
            return self.object.call(void, "acquire", .{}, timeout_ms);
        }

        pub fn release(self: Semaphore) !void {
            return self.object.call(void, "release", .{}, 0);
        }
    };

    pub const Event = struct {
        object: Object,

        const proxy = Proxy(Event, &.{7}, 0);
        pub const named = proxy.named;
        pub const jsonParse = proxy.jsonParse;
        pub const jsonStringify = proxy.jsonStringify;

        pub fn set(self: Event) !void {
            return self.object.call(void, "set", .{}, 0);
        }

        pub fn clear(self: Event) !void {
            return self.object.call(void, "clear", .{}, 0);
        }

        pub fn isSet(self: Event) !bool {
            return self.object.call(bool, "is_set", .{}, 0);
        }

        pub fn wait(self: Event, timeout_ms: i64) !void {
            return self.object.call(void, "wait", .{}, timeout_ms);
        }
    };

    pub const Barrier = struct {
        object: Object,

        const proxy = Proxy(Barrier, &.{9}, 0);
        pub const named = proxy.named;
        pub const jsonParse = proxy.jsonParse;
        pub const jsonStringify = proxy.jsonStringify;

        /// Waits for the other parties. Returns the number of this task among them. Fails with `Broken`.
        pub fn wait(self: Barrier, timeout_ms: i64) !usize {
            return self.object.call(usize, "wait", .{}, timeout_ms);
        }
    };

    /// Returns the code of a number type.
    fn numberCode(comptime N: type) u8 {
        return switch (N) {
            i8 => 1,
            i16 => 2,
            i32 => 3,
            i64 => 4,
            u8 => 5,
            u16 => 6,
            u32 => 7,
            u64 => 8,
            f32 => 9,
            f64 => 10,
            else => @compileError("a number is i8 to i64, u8 to u64, f32 or f64"),
        };
    }

    const Operation = enum(i32) { load, store, swap, add, sub, min, max, @"and", @"or", xor, compare_and_swap };

    /// Performs an operation on a number in shared memory, and returns the one that was there before.
    fn perform(comptime N: type, object: i32, index: u32, operation: Operation, a: N, b: N) N {
        const code = @intFromEnum(operation);
        switch (@typeInfo(N)) {
            .float => return @floatCast(host.number_float(object, index, code, a, b)),
            .int => |int| {
                const bits = struct {
                    fn of(number: N) i64 {
                        return if (int.bits == 64) @bitCast(number) else number;
                    }
                };
                const before: u64 = @bitCast(host.number_int(object, index, code, bits.of(a), bits.of(b)));
                const Bits = std.meta.Int(.unsigned, int.bits);
                return @bitCast(@as(Bits, @truncate(before)));
            },
            else => unreachable,
        }
    }

    /// A number in shared memory. Each operation is atomic, and needs no request. Integers wrap around.
    pub fn Value(comptime N: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{1}, numberCode(N));
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            pub fn load(self: Self) !N {
                return perform(N, try self.opened(), 0, .load, 0, 0);
            }

            pub fn store(self: Self, number: N) !void {
                _ = perform(N, try self.opened(), 0, .store, number, 0);
            }

            /// Returns the number before.
            pub fn swap(self: Self, number: N) !N {
                return perform(N, try self.opened(), 0, .swap, number, 0);
            }

            /// Returns the number before.
            pub fn add(self: Self, number: N) !N {
                return perform(N, try self.opened(), 0, .add, number, 0);
            }

            /// Returns whether the number was `old`, and is `new` now.
            pub fn compareAndSwap(self: Self, old: N, new: N) !bool {
                return perform(N, try self.opened(), 0, .compare_and_swap, old, new) == old;
            }

            /// Acquires the lock that belongs to the value, for what takes several operations.
            pub fn lock(self: Self, timeout_ms: i64) !Guard {
                return self.object.lock(timeout_ms);
            }

            fn opened(self: Self) !i32 {
                return if (self.object.descriptor < 0) failure(self.object.descriptor) else self.object.descriptor;
            }
        };
    }

    /// Numbers in shared memory. Each operation on one of them is atomic, and needs no request.
    pub fn Array(comptime N: type) type {
        return struct {
            object: Object,

            const Self = @This();
            const proxy = Proxy(Self, &.{2}, numberCode(N));
            pub const named = proxy.named;
            pub const jsonParse = proxy.jsonParse;
            pub const jsonStringify = proxy.jsonStringify;

            pub fn len(self: Self) !u32 {
                if (self.object.descriptor < 0) return failure(self.object.descriptor);
                return @truncate(@as(u64, @bitCast(host.object_info(self.object.descriptor) >> 16)));
            }

            pub fn load(self: Self, index: u32) !N {
                return perform(N, try self.at(index), index, .load, 0, 0);
            }

            pub fn store(self: Self, index: u32, number: N) !void {
                _ = perform(N, try self.at(index), index, .store, number, 0);
            }

            /// Returns the number before.
            pub fn add(self: Self, index: u32, number: N) !N {
                return perform(N, try self.at(index), index, .add, number, 0);
            }

            /// Acquires the lock that belongs to the array, for what takes several operations.
            pub fn lock(self: Self, timeout_ms: i64) !Guard {
                return self.object.lock(timeout_ms);
            }

            /// Returns the descriptor, if there is such an index.
            fn at(self: Self, index: u32) !i32 {
                if (index >= try self.len()) return error.Missing;
                return self.object.descriptor;
            }
        };
    }
};
