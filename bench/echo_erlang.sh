#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs echo_erlang.beam: the number of schedulers has to be known before the emulator starts.
threads=1
if [ "$1" = --threads ]; then
    threads=$2
    shift 2
fi
exec erl -noinput -env ERL_CRASH_DUMP_BYTES 0 +S "$threads:$threads" \
    -pa "$(dirname "$0")" -run echo_erlang main "${1:-127.0.0.1:0}"
