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

enum mpwasm_level {
    MPWASM_ERROR = 1,
    MPWASM_WARN = 2,
    MPWASM_INFO = 3,
    MPWASM_DEBUG = 4,
    MPWASM_TRACE = 5
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

#endif
