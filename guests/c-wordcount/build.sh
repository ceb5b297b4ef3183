#!/bin/sh
# Builds the model and the command into a folder: guests/c-wordcount/build.sh FOLDER
#
# CC names the compiler: `zig cc`, or a clang with wasi-libc (Debian: clang lld wasi-libc libclang-rt-dev-wasm32; or
# that of a wasi-sdk).
set -eu
here=$(dirname "$0")
flags="--target=wasm32-wasi -std=c99 -O2 -s -Wall -Wextra -Wpedantic -Werror"
# The stack is part of each instance's memory, and zig's default is 16 MiB.
flags="$flags -Wl,-z,stack-size=65536"
# CC and the flags are several words.
${CC:-clang} $flags -mexec-model=reactor -I "$here/../../guest-sdk/include" -o "$1/model.wasm" "$here/model.c"
${CC:-clang} $flags -o "$1/command.wasm" "$here/command.c"
