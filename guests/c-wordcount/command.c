/*
 * A command in C: an ordinary program, without anything of mpwasm, that counts the lines, words and bytes of its stdin.
 *
 *     echo one two | mpwasm exec wc.wasm
 */

#include <stdio.h>

#include "count.h"

int main(void) {
    struct count count = {0};
    char piece[4096];
    size_t len;
    while ((len = fread(piece, 1, sizeof piece, stdin)) > 0)
        count_more(&count, piece, len);
    printf("%zu %zu %zu\n", count.lines, count.words, count.bytes);
    return ferror(stdin) || fflush(stdout) != 0;
}
