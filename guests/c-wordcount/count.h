/* Counts lines, words and bytes: what the model and the command share. */

#ifndef COUNT_H
#define COUNT_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>

struct count {
    size_t lines, words, bytes;
    bool in_word;
};

/* Counts a further piece of a text. */
static void count_more(struct count *count, const char *text, size_t len) {
    for (const char *at = text; at < text + len; at++) {
        bool blank = isspace((unsigned char)*at);
        count->lines += *at == '\n';
        count->words += !blank && !count->in_word;
        count->in_word = !blank;
    }
    count->bytes += len;
}

#endif
