#!/bin/sh
# Builds the model and the command into a folder: guests/zig-wordcount/build.sh FOLDER
#
# ZIG names a zig 0.15.
set -eu
here=$(dirname "$0")
# The stack is part of each instance's memory, and zig's default is 16 MiB.
flags="-target wasm32-wasi -O ReleaseSmall --stack 65536"
# The flags are several words. A model has no entry: its exports are found by their names.
${ZIG:-zig} build-exe $flags -fno-entry -rdynamic -femit-bin="$1/model.wasm" "$here/model.zig"
${ZIG:-zig} build-exe $flags -femit-bin="$1/command.wasm" "$here/command.zig"
