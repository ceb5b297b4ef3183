/*
 * A model in C: it counts the lines, words and bytes of a text, and its callbacks add up the words of all texts.
 *
 *     printf '["one two"]\n["three\\n"]\n' | mpwasm run wordcount.wasm --tasks - --results -
 */

#include <stdio.h>

#include <mpwasm.h>

#include "count.h"

/* Args: `[text]`. Runs in a worker, in a fresh instance for each task. */
static int32_t runnable(void) {
    char *args = mpwasm_input(NULL);
    const char *at = args;
    size_t len;
    char *text = mpwasm_skip(&at, '[') ? mpwasm_string(&at, &len) : NULL;
    if (text == NULL || !mpwasm_skip(&at, ']'))
        mpwasm_fail("the args should be one text, as in [\"one two\"]");
    struct count count = {0};
    count_more(&count, text, len);
    mpwasm_output_format("{\"lines\":%zu,\"words\":%zu,\"bytes\":%zu}", count.lines, count.words, count.bytes);
    free(text);
    free(args);
    return 0;
}

/* Totals of all tasks so far. Callbacks run in the dispatcher, in an instance that is kept. */
static unsigned long words, failures;

/* Input: the output of `runnable`. */
static int32_t callback(void) {
    char *result = mpwasm_input(NULL);
    const char *at = strstr(result, "\"words\":");
    words += strtoul(at + strlen("\"words\":"), NULL, 10);
    printf("%lu words so far\n", words);
    free(result);
    return 0;
}

/* Input: the error object, as in the task's record. */
static int32_t error_callback(void) {
    char *error = mpwasm_input(NULL);
    failures++;
    printf("failed: %s\n", error);
    free(error);
    return 0;
}

/* Output: the final value of the run. */
static int32_t final_callback(void) {
    mpwasm_output_format("{\"words\":%lu,\"failures\":%lu}", words, failures);
    return 0;
}

MPWASM_EXPORT("runnable", runnable)
MPWASM_EXPORT("callback", callback)
MPWASM_EXPORT("error_callback", error_callback)
MPWASM_EXPORT("final_callback", final_callback)
