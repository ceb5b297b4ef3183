/* Uses all of mpwasm.h, in what C99 and C++11 have in common. */

#include <mpwasm.h>

/* What the imports say of this call. */
static int32_t facts(void) {
    mpwasm_log(MPWASM_WARN, "a line for the log");
    mpwasm_output_format("[%d,%lld,%d,%s]", mpwasm_pid() > 0, (long long)mpwasm_task_id(), (int)mpwasm_attempt(),
                         mpwasm_remaining_ms() > 0 ? "true" : "false");
    return 0;
}

/* The args `[text, number]`, read and written again. */
static int32_t again(void) {
    size_t size, len;
    char *args = mpwasm_input(&size);
    const char *at = args;
    double number;
    char *text = mpwasm_skip(&at, '[') ? mpwasm_string(&at, &len) : NULL;
    if (text == NULL || !mpwasm_skip(&at, ',') || !mpwasm_number(&at, &number) || !mpwasm_skip(&at, ']'))
        mpwasm_fail("no text and number");
    if (*at != '\0' || at != args + size)
        mpwasm_fail("there is more");
    mpwasm_output("[");
    mpwasm_output_string(text, len);
    mpwasm_output_format(",%zu,%g]", len, number);
    free(text);
    free(args);
    return 0;
}

/* Prints, and fails with more than printf's buffer. */
static int32_t too_long(void) {
    printf("printed before");
    mpwasm_output_format("%2000d", 1);
    return 0;
}

/* Fails by its status: the output is the error. */
static int32_t refuses(void) {
    mpwasm_output("{\"why\":\"so\"}");
    return 1;
}

static int32_t tasks(void) {
    mpwasm_push("{\"model\":\"facts\"}");
    int64_t id = mpwasm_push("{\"model\":\"again\",\"args\":[\"pushed\",2]}");
    return id != 1;
}

MPWASM_EXPORT("facts.runnable", facts)
MPWASM_EXPORT("again$runnable", again)
MPWASM_EXPORT("too_long.runnable", too_long)
MPWASM_EXPORT("refuses.runnable", refuses)
MPWASM_EXPORT("tasks", tasks)
