/*
 * mpwasm.h: guest ABI 1 of mpwasm, for C (from C99) and C++ (from C++11).
 *
 * It has all imports of the ABI, a macro for its exports, and helpers for inputs and outputs, which are JSON. It needs
 * a C library for WASI preview 1 (wasi-libc), and nothing else. The helpers read numbers and strings; for other JSON use a
 * library.
 *
 *     clang --target=wasm32-wasi -mexec-model=reactor -O2 -I guest-sdk/include -o guest.wasm guest.c
 *     zig cc --target=wasm32-wasi -mexec-model=reactor -O2 -I guest-sdk/include -o guest.wasm guest.c
 *
 * As a *reactor* the module exports `_initialize`, which runs its constructors, and no `_start`.
 */

#ifndef MPWASM_H
#define MPWASM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
#define MPWASM_EXTERN_C extern "C"
#else
#define MPWASM_EXTERN_C extern
#endif

#define MPWASM_IMPORT(name) \
    MPWASM_EXTERN_C __attribute__((import_module("mpwasm_v1"), import_name(name)))

/* ---- Exports ---- */

/*
 * Exports `function`, an `int32_t function(void)`, under a name of the ABI. 0 is success, anything else failure.
 *
 *     MPWASM_EXPORT("runnable", runnable)        args in, result or error out: in a worker, in a fresh instance
 *     MPWASM_EXPORT("callback", callback)        result in: in the dispatcher, where the instance stays
 *     MPWASM_EXPORT("error_callback", failed)    error object in: in the same instance as `callback`
 *     MPWASM_EXPORT("final_callback", last)      `null` in, final value out: once, when all tasks have ended
 *     MPWASM_EXPORT("square.runnable", square)   and so on, for a further model that is named `square`
 *     MPWASM_EXPORT("tasks", tasks)              `null` in: calls `mpwasm_push`
 *
 * It flushes stdout when the function returns, since nothing else does in a reactor.
 */
#define MPWASM_EXPORT(name, function)                                                          \
    MPWASM_EXTERN_C __attribute__((export_name(name))) int32_t mpwasm_export_##function(void); \
    int32_t mpwasm_export_##function(void) {                                                   \
        int32_t status = function();                                                           \
        fflush(NULL);                                                                          \
        return status;                                                                         \
    }

/* ---- Imports, as they are in the ABI; what is out of bounds traps ---- */

/* Returns the size of this call's input, in bytes. */
MPWASM_IMPORT("input_len") int32_t mpwasm_input_len(void);
/* Copies at most `len` bytes of the input from `offset`; returns how many, 0 past the end. */
MPWASM_IMPORT("input_read") int32_t mpwasm_input_read(void *to, size_t offset, size_t len);
/* Appends to this call's output. With more than `--max-result` bytes the task ends at once, as `limit`. */
MPWASM_IMPORT("output_write") void mpwasm_output_write(const void *from, size_t len);
/* Discards the output and ends the call as `error` with this message. Does not flush stdout; `mpwasm_fail` does. */
MPWASM_IMPORT("fail") void mpwasm_fail_write(const char *message, size_t len) __attribute__((noreturn));
/*
 * Pushes a task and returns its id. It is a JSON object with any of `model`, `timeout`, `args` and `key`, as in
 * {"args":[1],"timeout":"250ms"}. Traps outside of `tasks`, and for JSON that is not a task.
 */
MPWASM_IMPORT("push") int64_t mpwasm_push_write(const char *task, size_t len);
/* Returns the id of the operating-system process that runs this call. */
MPWASM_IMPORT("pid") int32_t mpwasm_pid(void);
/* Returns the id of this call's task, counted from 0. */
MPWASM_IMPORT("task_id") int64_t mpwasm_task_id(void);
/* Returns the number of this attempt of the task, from 1. */
MPWASM_IMPORT("attempt") int32_t mpwasm_attempt(void);
/* Returns the milliseconds until this call's deadline. */
MPWASM_IMPORT("remaining_ms") int64_t mpwasm_remaining_ms(void);
/* Writes a line to the log. Levels other than those of `enum mpwasm_level` count as the nearest. */
MPWASM_IMPORT("log") void mpwasm_log_write(int32_t level, const char *text, size_t len);
/*
 * Opens a shared object by its handle, a JSON object from the args, or by a name that was granted to the pool. Returns its
 * descriptor, which is valid in this call, or one of `enum mpwasm_object_error`. The reply then says why.
 */
MPWASM_IMPORT("object_open") int32_t mpwasm_object_open_text(const char *target, size_t len);
/*
 * Calls an operation of an object with a JSON array of arguments. Waits for at most `timeout_ms`, or until the deadline of this
 * call with MPWASM_FOREVER. Returns the length of the reply, or one of `enum mpwasm_object_error`. The reply then says why.
 */
MPWASM_IMPORT("object_call")
int32_t mpwasm_object_call_text(int32_t object, const char *operation, size_t operation_len, const char *args,
                                size_t args_len, int64_t timeout_ms);
/* Returns the size of the last reply, in bytes. */
MPWASM_IMPORT("object_reply_len") int32_t mpwasm_object_reply_len(void);
/* Copies at most `len` bytes of the last reply from `offset`; returns how many, 0 past the end. */
MPWASM_IMPORT("object_reply") int32_t mpwasm_object_reply_read(void *to, size_t offset, size_t len);
/*
 * Returns what an object is: bits 0 to 7 are `enum mpwasm_object_kind`, bits 8 to 15 `enum mpwasm_number_type` or 0, and bits 16
 * to 47 the count of its numbers.
 */
MPWASM_IMPORT("object_info") int64_t mpwasm_object_info(int32_t object);
/*
 * Performs an operation of `enum mpwasm_number_operation` on a number of a value (index 0) or an array, atomically. Returns the
 * number that was there before. Traps when there is no such number, or when it is no integer, or no float.
 */
MPWASM_IMPORT("number_int")
int64_t mpwasm_number_int(int32_t object, int32_t index, int32_t operation, int64_t a, int64_t b);
MPWASM_IMPORT("number_float")
double mpwasm_number_float(int32_t object, int32_t index, int32_t operation, double a, double b);

enum mpwasm_level {
    MPWASM_ERROR = 1,
    MPWASM_WARN = 2,
    MPWASM_INFO = 3,
    MPWASM_DEBUG = 4,
    MPWASM_TRACE = 5
};

/* Timeout of an operation that waits until the deadline of the call. */
#define MPWASM_FOREVER ((int64_t)-1)

/* Why an operation on a shared object failed. */
enum mpwasm_object_error {
    MPWASM_EMPTY = -1,
    MPWASM_FULL = -2,
    MPWASM_TIMEOUT = -3,
    MPWASM_CLOSED = -4,         /* the queue, or the other end of the pipe */
    MPWASM_BROKEN = -5,         /* the barrier */
    MPWASM_NOT_OWNER = -6,      /* this call does not hold the lock or the item */
    MPWASM_NO_SUCH_OBJECT = -7, /* no object has this handle, or none of this name was granted */
    MPWASM_WRONG_TYPE = -8,
    MPWASM_TOO_LARGE = -9,
    MPWASM_OUT_OF_MEMORY = -10,
    MPWASM_UNAVAILABLE = -11, /* the pool has no objects, or their process has ended */
    MPWASM_DEADLOCK = -12,    /* the wait would never end */
    MPWASM_MISSING = -13,     /* there is no such key, index or value */
    MPWASM_INVALID = -14      /* there is no such operation, or it takes other arguments */
};

enum mpwasm_object_kind {
    MPWASM_KIND_VALUE = 1,
    MPWASM_KIND_ARRAY = 2,
    MPWASM_KIND_LOCK = 3,
    MPWASM_KIND_RLOCK = 4,
    MPWASM_KIND_SEMAPHORE = 5,
    MPWASM_KIND_BOUNDED_SEMAPHORE = 6,
    MPWASM_KIND_EVENT = 7,
    MPWASM_KIND_CONDITION = 8,
    MPWASM_KIND_BARRIER = 9,
    MPWASM_KIND_QUEUE = 10,
    MPWASM_KIND_JOINABLE_QUEUE = 11,
    MPWASM_KIND_PIPE = 12,
    MPWASM_KIND_DICT = 13,
    MPWASM_KIND_LIST = 14,
    MPWASM_KIND_NAMESPACE = 15
};

enum mpwasm_number_type {
    MPWASM_I8 = 1,
    MPWASM_I16 = 2,
    MPWASM_I32 = 3,
    MPWASM_I64 = 4,
    MPWASM_U8 = 5,
    MPWASM_U16 = 6,
    MPWASM_U32 = 7,
    MPWASM_U64 = 8,
    MPWASM_F32 = 9,
    MPWASM_F64 = 10
};

/* The operations on a number. Those on bits are for integers only. */
enum mpwasm_number_operation {
    MPWASM_LOAD = 0,
    MPWASM_STORE = 1, /* returns 0 */
    MPWASM_SWAP = 2,
    MPWASM_ADD = 3,
    MPWASM_SUB = 4,
    MPWASM_MIN = 5,
    MPWASM_MAX = 6,
    MPWASM_AND = 7,
    MPWASM_OR = 8,
    MPWASM_XOR = 9,
    MPWASM_COMPARE_AND_SWAP = 10 /* writes `b` if the number is `a` */
};

/* ---- Helpers: the same with texts that end in a zero byte ---- */

/* Ends the call as `error` with this message, after what was printed. Does not return. */
static inline void mpwasm_fail(const char *message) __attribute__((noreturn));
static inline void mpwasm_fail(const char *message) {
    fflush(NULL);
    mpwasm_fail_write(message, strlen(message));
}

static inline int64_t mpwasm_push(const char *task) {
    return mpwasm_push_write(task, strlen(task));
}

static inline void mpwasm_log(enum mpwasm_level level, const char *text) {
    mpwasm_log_write((int32_t)level, text, strlen(text));
}

/*
 * Returns this call's input, followed by a zero byte. Free it. It is valid JSON on one line, which the host has checked.
 * `len` may be NULL. Aborts when there is no memory for it: the task ends as `memory`.
 */
static inline char *mpwasm_input(size_t *len) {
    size_t size = (size_t)mpwasm_input_len();
    char *input = (char *)malloc(size + 1);
    if (input == NULL)
        abort();
    size = (size_t)mpwasm_input_read(input, 0, size);
    input[size] = '\0';
    if (len != NULL)
        *len = size;
    return input;
}

/* Appends JSON to the output. */
static inline void mpwasm_output(const char *json) {
    mpwasm_output_write(json, strlen(json));
}

/*
 * Appends JSON to the output, formatted as by printf, in up to 1023 bytes; ends the call as `error` with more. Strings need
 * quotes and escapes, so use `mpwasm_output_string` for arbitrary ones.
 */
static inline void mpwasm_output_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void mpwasm_output_format(const char *format, ...) {
    char json[1024];
    va_list values;
    va_start(values, format);
    int len = vsnprintf(json, sizeof json, format, values);
    va_end(values);
    if (len < 0 || (size_t)len >= sizeof json)
        mpwasm_fail("the output does not fit into mpwasm_output_format");
    mpwasm_output_write(json, (size_t)len);
}

/* Appends a JSON string with this text, UTF-8, to the output. */
static inline void mpwasm_output_string(const char *text, size_t len) {
    size_t done = 0; /* bytes of `text` that are in the output */
    mpwasm_output("\"");
    for (size_t at = 0; at < len; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        mpwasm_output_write(text + done, at - done);
        mpwasm_output_format("\\u%04x", c);
        done = at + 1;
    }
    mpwasm_output_write(text + done, len - done);
    mpwasm_output("\"");
}

/* ---- Helpers that read numbers and strings from valid JSON. They advance `*at`. ---- */

/* Skips blanks and then this character. Returns false, with only the blanks skipped, when another character follows. */
static inline bool mpwasm_skip(const char **at, char expected) {
    *at += strspn(*at, " \t\r\n");
    if (**at != expected || expected == '\0')
        return false;
    ++*at;
    return true;
}

/* Reads a number. Returns false when there is none. */
static inline bool mpwasm_number(const char **at, double *number) {
    char *end;
    *at += strspn(*at, " \t\r\n");
    if (strchr("-0123456789", **at) == NULL || **at == '\0')
        return false;
    *number = strtod(*at, &end);
    *at = end;
    return true;
}

/* Internal: the four hexadecimal digits of an escape. */
static inline uint32_t mpwasm_hex4(const char *digits) {
    char copy[5] = {digits[0], digits[1], digits[2], digits[3], '\0'};
    return (uint32_t)strtoul(copy, NULL, 16);
}

/* Internal: writes a character as UTF-8, and returns the end. */
static inline char *mpwasm_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)((0xf00 >> (more + 1)) | (c >> (6 * more)));
    while (more-- > 0)
        *to++ = (char)(0x80 | ((c >> (6 * more)) & 0x3f));
    return to;
}

/*
 * Reads a string. Returns its text in UTF-8, followed by a zero byte. Free it. Returns NULL when there is no string. `len`
 * may be NULL, but the text may have zero bytes in it. Aborts when there is no memory for it.
 */
static inline char *mpwasm_string(const char **at, size_t *len) {
    if (!mpwasm_skip(at, '"'))
        return NULL;
    /* No escape is shorter than what it stands for. */
    size_t size = 0;
    while ((*at)[size] != '"' && (*at)[size] != '\0')
        size += (*at)[size] == '\\' && (*at)[size + 1] != '\0' ? 2 : 1;
    char *text = (char *)malloc(size + 1);
    if (text == NULL)
        abort();
    const char *from = *at, *end = *at + size;
    char *to = text;
    while (from < end) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        const char *escape = strchr(escapes, from[1]);
        if (escape != NULL || end - from < 6) {
            *to++ = escape != NULL ? meant[escape - escapes] : from[1];
            from += 2;
            continue;
        }
        uint32_t c = mpwasm_hex4(from + 2);
        from += 6;
        if (c >= 0xd800 && c < 0xdc00 && end - from >= 6 && from[0] == '\\' && from[1] == 'u') {
            uint32_t low = mpwasm_hex4(from + 2);
            if (low >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                from += 6;
            }
        }
        /* Half a pair stands for no character. */
        to = mpwasm_utf8(to, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    }
    *to = '\0';
    *at = *end == '"' ? end + 1 : end;
    if (len != NULL)
        *len = (size_t)(to - text);
    return text;
}

/*
 * Skips a JSON value of any type. Returns its first character, and its size in `len`. Returns NULL when there is none.
 */
static inline const char *mpwasm_value(const char **at, size_t *len) {
    *at += strspn(*at, " \t\r\n");
    const char *start = *at, *end = start;
    bool in_string = false;
    for (int depth = 0; *end != '\0'; end++) {
        if (in_string) {
            if (*end == '\\' && end[1] != '\0')
                end++;
            else if (*end == '"')
                in_string = false;
        } else if (*end == '"') {
            in_string = true;
        } else if (*end == '[' || *end == '{') {
            depth++;
        } else if ((*end == ']' || *end == '}') && depth > 0) {
            depth--;
        } else if (depth == 0 && strchr(",:]} \t\r\n", *end) != NULL) {
            break;
        }
    }
    if (end == start)
        return NULL;
    *len = (size_t)(end - start);
    *at = end;
    return start;
}

/*
 * ---- Shared objects ----
 *
 * An object is a descriptor, from `mpwasm_object` or `mpwasm_object_arg`, and valid in the call that opened it. Items, keys and
 * values are JSON texts, such as "7" or "\"key\"". All functions return a negative number, one of `enum mpwasm_object_error`, when
 * they fail: `mpwasm_object_fail` then ends the call with the reason.
 */

/* Returns the last reply, followed by a zero byte: JSON, or what an error is. Free it. `len` may be NULL. */
static inline char *mpwasm_object_reply(size_t *len) {
    size_t size = (size_t)mpwasm_object_reply_len();
    char *reply = (char *)malloc(size + 1);
    if (reply == NULL)
        abort();
    size = (size_t)mpwasm_object_reply_read(reply, 0, size);
    reply[size] = '\0';
    if (len != NULL)
        *len = size;
    return reply;
}

/* Ends the call as `error`, with the message of the last operation, which failed. */
static inline void mpwasm_object_fail(void) __attribute__((noreturn));
static inline void mpwasm_object_fail(void) {
    char *reply = mpwasm_object_reply(NULL);
    const char *at = strstr(reply, "\"message\":");
    char *message = NULL;
    if (at != NULL) {
        at += strlen("\"message\":");
        message = mpwasm_string(&at, NULL);
    }
    mpwasm_fail(message != NULL ? message : "an operation on a shared object failed");
}

/* Opens an object by its name. */
static inline int32_t mpwasm_object(const char *name) {
    return mpwasm_object_open_text(name, strlen(name));
}

/* Opens the object whose handle is the next value of the args. Returns MPWASM_INVALID when it is none. */
static inline int32_t mpwasm_object_arg(const char **at) {
    size_t len = 0;
    const char *handle = mpwasm_value(at, &len);
    if (handle == NULL || *handle != '{')
        return MPWASM_INVALID;
    return mpwasm_object_open_text(handle, len);
}

/*
 * Calls an operation with up to three arguments, JSON texts of which the first NULL ends the list. When `reply` is not NULL, it
 * gets the reply. Free it.
 */
static inline int32_t mpwasm_object_call(int32_t object, const char *operation, const char *first, const char *second,
                                         const char *third, int64_t timeout_ms, char **reply) {
    const char *values[3] = {first, second, third};
    size_t size = 2;
    for (int i = 0; i < 3 && values[i] != NULL; i++)
        size += strlen(values[i]) + 1;
    char *args = (char *)malloc(size), *to = args;
    if (args == NULL)
        abort();
    *to++ = '[';
    for (int i = 0; i < 3 && values[i] != NULL; i++) {
        size_t len = strlen(values[i]);
        if (i > 0)
            *to++ = ',';
        memcpy(to, values[i], len);
        to += len;
    }
    *to++ = ']';
    int32_t length =
        mpwasm_object_call_text(object, operation, strlen(operation), args, (size_t)(to - args), timeout_ms);
    free(args);
    if (reply != NULL)
        *reply = length < 0 ? NULL : mpwasm_object_reply(NULL);
    return length < 0 ? length : 0;
}

/* Internal: calls an operation that does not wait, and whose reply is a number, true or false. */
static inline int64_t mpwasm_object_count(int32_t object, const char *operation, const char *argument,
                                          int64_t timeout_ms) {
    char *reply = NULL;
    int32_t failed = mpwasm_object_call(object, operation, argument, NULL, NULL, timeout_ms, &reply);
    if (failed < 0)
        return failed;
    int64_t number = *reply == 't' ? 1 : strtoll(reply, NULL, 10);
    free(reply);
    return number;
}

/* Queues. `item` gets the item. Free it. */
static inline int32_t mpwasm_queue_put(int32_t queue, const char *item, int64_t timeout_ms) {
    return mpwasm_object_call(queue, "put", item, NULL, NULL, timeout_ms, NULL);
}
static inline int32_t mpwasm_queue_get(int32_t queue, int64_t timeout_ms, char **item) {
    return mpwasm_object_call(queue, "get", NULL, NULL, NULL, timeout_ms, item);
}
static inline int64_t mpwasm_queue_size(int32_t queue) {
    return mpwasm_object_count(queue, "qsize", NULL, 0);
}
static inline int32_t mpwasm_queue_close(int32_t queue) {
    return mpwasm_object_call(queue, "close", NULL, NULL, NULL, 0, NULL);
}
/* Joinable queues. An item that is not done goes back to the queue when the call that took it fails. */
static inline int32_t mpwasm_queue_task_done(int32_t queue) {
    return mpwasm_object_call(queue, "task_done", NULL, NULL, NULL, 0, NULL);
}
static inline int32_t mpwasm_queue_join(int32_t queue, int64_t timeout_ms) {
    return mpwasm_object_call(queue, "join", NULL, NULL, NULL, timeout_ms, NULL);
}

/* Ends of pipes. `mpwasm_pipe_poll` returns 1 when there is something to receive, or the end. */
static inline int32_t mpwasm_pipe_send(int32_t end, const char *value) {
    return mpwasm_object_call(end, "send", value, NULL, NULL, MPWASM_FOREVER, NULL);
}
static inline int32_t mpwasm_pipe_recv(int32_t end, int64_t timeout_ms, char **value) {
    return mpwasm_object_call(end, "recv", NULL, NULL, NULL, timeout_ms, value);
}
static inline int32_t mpwasm_pipe_poll(int32_t end, int64_t timeout_ms) {
    return (int32_t)mpwasm_object_count(end, "poll", NULL, timeout_ms);
}
static inline int32_t mpwasm_pipe_close(int32_t end) {
    return mpwasm_object_call(end, "close", NULL, NULL, NULL, 0, NULL);
}

/*
 * Locks: of a lock, an rlock, a condition, a value or an array. Returns 1 when the holder before ended without releasing it, so
 * that what it protects may be half changed, and otherwise 0. It is released when the call ends, too.
 */
static inline int32_t mpwasm_lock_acquire(int32_t lock, int64_t timeout_ms) {
    char *reply = NULL;
    int32_t failed = mpwasm_object_call(lock, "acquire", NULL, NULL, NULL, timeout_ms, &reply);
    if (failed < 0)
        return failed;
    int32_t abandoned = strstr(reply, "true") != NULL;
    free(reply);
    return abandoned;
}
static inline int32_t mpwasm_lock_release(int32_t lock) {
    return mpwasm_object_call(lock, "release", NULL, NULL, NULL, 0, NULL);
}

/* Semaphores. */
static inline int32_t mpwasm_semaphore_acquire(int32_t semaphore, int64_t timeout_ms) {
    return mpwasm_object_call(semaphore, "acquire", NULL, NULL, NULL, timeout_ms, NULL);
}
static inline int32_t mpwasm_semaphore_release(int32_t semaphore) {
    return mpwasm_object_call(semaphore, "release", NULL, NULL, NULL, 0, NULL);
}

/* Conditions, whose lock this call holds. Waiting releases it, and acquires it again: returns 1 when a notification came, or 0. */
static inline int32_t mpwasm_condition_wait(int32_t condition, int64_t timeout_ms) {
    char *reply = NULL;
    int32_t failed = mpwasm_object_call(condition, "wait", NULL, NULL, NULL, timeout_ms, &reply);
    if (failed < 0)
        return failed;
    int32_t notified = strstr(reply, "\"notified\":true") != NULL;
    free(reply);
    return notified;
}
static inline int32_t mpwasm_condition_notify_all(int32_t condition) {
    return mpwasm_object_call(condition, "notify_all", NULL, NULL, NULL, 0, NULL);
}

/* Events. */
static inline int32_t mpwasm_event_set(int32_t event) {
    return mpwasm_object_call(event, "set", NULL, NULL, NULL, 0, NULL);
}
static inline int32_t mpwasm_event_clear(int32_t event) {
    return mpwasm_object_call(event, "clear", NULL, NULL, NULL, 0, NULL);
}
static inline int32_t mpwasm_event_is_set(int32_t event) {
    return (int32_t)mpwasm_object_count(event, "is_set", NULL, 0);
}
static inline int32_t mpwasm_event_wait(int32_t event, int64_t timeout_ms) {
    return mpwasm_object_call(event, "wait", NULL, NULL, NULL, timeout_ms, NULL);
}

/* Barriers. Returns the number of this task among the parties, from 0. */
static inline int32_t mpwasm_barrier_wait(int32_t barrier, int64_t timeout_ms) {
    return (int32_t)mpwasm_object_count(barrier, "wait", NULL, timeout_ms);
}

/* Dicts. `value` gets the value, or the sum. Free it; it may be NULL for the sum. */
static inline int32_t mpwasm_dict_get(int32_t dict, const char *key, char **value) {
    return mpwasm_object_call(dict, "get", key, NULL, NULL, 0, value);
}
static inline int32_t mpwasm_dict_set(int32_t dict, const char *key, const char *value) {
    return mpwasm_object_call(dict, "set", key, value, NULL, 0, NULL);
}
static inline int32_t mpwasm_dict_add(int32_t dict, const char *key, const char *number, char **sum) {
    return mpwasm_object_call(dict, "add", key, number, NULL, 0, sum);
}
static inline int32_t mpwasm_dict_remove(int32_t dict, const char *key) {
    return mpwasm_object_call(dict, "remove", key, NULL, NULL, 0, NULL);
}

/* Lists. An index is a JSON number; a negative one counts from the end. */
static inline int32_t mpwasm_list_append(int32_t list, const char *value) {
    return mpwasm_object_call(list, "append", value, NULL, NULL, 0, NULL);
}
static inline int32_t mpwasm_list_get(int32_t list, const char *index, char **value) {
    return mpwasm_object_call(list, "get", index, NULL, NULL, 0, value);
}
static inline int64_t mpwasm_list_len(int32_t list) {
    return mpwasm_object_count(list, "len", NULL, 0);
}

#endif
