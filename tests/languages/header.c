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

/* Returns what an operation returned. Ends the call if it failed. */
static int64_t done(int64_t returned) {
    if (returned < 0)
        mpwasm_object_fail();
    return returned;
}

/* A value that was received is this text. */
static int received(int32_t failed, char *value, const char *expected) {
    int same = failed == 0 && strcmp(value, expected) == 0;
    free(value);
    return same;
}

/* Uses each kind of object that tasks share. The args are a joinable queue of two. */
static int32_t share(void) {
    char *args = mpwasm_input(NULL), *value = NULL;
    const char *at = args;
    if (!mpwasm_skip(&at, '['))
        mpwasm_fail("no args");
    int32_t jobs = (int32_t)done(mpwasm_object_arg(&at));
    done(mpwasm_queue_put(jobs, "1", 0));
    done(mpwasm_queue_put(jobs, "{\"a\":[2]}", MPWASM_FOREVER));
    int full = mpwasm_queue_put(jobs, "3", 10) == MPWASM_TIMEOUT && mpwasm_queue_put(jobs, "3", 0) == MPWASM_FULL && mpwasm_queue_size(jobs) == 2;
    int got = received(mpwasm_queue_get(jobs, 0, &value), value, "1");
    value = NULL;
    got = got && received(mpwasm_queue_get(jobs, 0, &value), value, "{\"a\":[2]}");
    int owner = mpwasm_queue_task_done(jobs) == 0 && mpwasm_queue_join(jobs, 10) == MPWASM_TIMEOUT &&
                mpwasm_queue_task_done(jobs) == 0 && mpwasm_queue_join(jobs, 0) == 0 &&
                mpwasm_queue_task_done(jobs) == MPWASM_NOT_OWNER;
    done(mpwasm_queue_close(jobs));
    int closed = mpwasm_queue_get(jobs, MPWASM_FOREVER, &value) == MPWASM_CLOSED && value == NULL;

    int32_t first = (int32_t)done(mpwasm_object("pipe.0")), second = (int32_t)done(mpwasm_object("pipe.1"));
    int piped = mpwasm_pipe_poll(second, 0) == 0;
    done(mpwasm_pipe_send(first, "\"over\""));
    piped = piped && mpwasm_pipe_poll(second, 100) == 1;
    value = NULL;
    piped = piped && received(mpwasm_pipe_recv(second, 0, &value), value, "\"over\"");
    done(mpwasm_pipe_close(first));

    int32_t lock = (int32_t)done(mpwasm_object("lock")), changed = (int32_t)done(mpwasm_object("changed"));
    int held = done(mpwasm_lock_acquire(lock, MPWASM_FOREVER)) == 0 && done(mpwasm_lock_acquire(changed, 0)) == 0 &&
               mpwasm_condition_wait(changed, 1) == 0;
    done(mpwasm_condition_notify_all(changed));
    done(mpwasm_lock_release(lock));
    int32_t permits = (int32_t)done(mpwasm_object("permits")), event = (int32_t)done(mpwasm_object("event"));
    held = held && mpwasm_semaphore_acquire(permits, 0) == 0 && mpwasm_semaphore_acquire(permits, 1) == MPWASM_TIMEOUT;
    done(mpwasm_semaphore_release(permits));
    held = held && mpwasm_event_is_set(event) == 0 && mpwasm_event_wait(event, 1) == MPWASM_TIMEOUT;
    done(mpwasm_event_set(event));
    held = held && mpwasm_event_is_set(event) == 1 && mpwasm_event_wait(event, MPWASM_FOREVER) == 0;
    done(mpwasm_event_clear(event));
    held = held && mpwasm_barrier_wait((int32_t)done(mpwasm_object("barrier")), 0) == 0;

    int32_t dict = (int32_t)done(mpwasm_object("dict")), list = (int32_t)done(mpwasm_object("list"));
    done(mpwasm_dict_set(dict, "\"a\"", "1"));
    value = NULL;
    int stored = received(mpwasm_dict_add(dict, "\"a\"", "41", &value), value, "42");
    value = NULL;
    stored = stored && received(mpwasm_dict_get(dict, "\"a\"", &value), value, "42");
    done(mpwasm_dict_remove(dict, "\"a\""));
    stored = stored && mpwasm_dict_get(dict, "\"a\"", &value) == MPWASM_MISSING;
    done(mpwasm_list_append(list, "true"));
    value = NULL;
    stored = stored && mpwasm_list_len(list) == 1 && received(mpwasm_list_get(list, "-1", &value), value, "true");

    int32_t total = (int32_t)done(mpwasm_object("total")), mean = (int32_t)done(mpwasm_object("mean"));
    int counted = mpwasm_number_int(total, 1, MPWASM_ADD, 300, 0) == 0 &&
                  mpwasm_number_int(total, 1, MPWASM_LOAD, 0, 0) == 44 && /* it wraps */
                  mpwasm_number_float(mean, 0, MPWASM_ADD, 0.5, 0) == 0 &&
                  mpwasm_object_info(total) == ((int64_t)MPWASM_KIND_ARRAY | (int64_t)MPWASM_U8 << 8 | 2 << 16);
    counted = counted && mpwasm_object("nothing") == MPWASM_NO_SUCH_OBJECT;
    mpwasm_output_format("[%d,%d,%d,%d,%d,%d,%d,%d]", full, got, owner, closed, piped, held, stored, counted);
    free(args);
    return 0;
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
MPWASM_EXPORT("share.runnable", share)
MPWASM_EXPORT("tasks", tasks)
