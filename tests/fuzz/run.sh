#!/bin/sh
# Builds one fuzz target and runs it:  tests/fuzz/run.sh scan|lane|response SECONDS [DIRECTORY [OPTION...]]
#
# Needs clang.  PYTHON names an interpreter that has the dependencies of the project.  What is built and
# what is found is kept in DIRECTORY, so that the next run goes on from there; options are libFuzzer's.
set -eu
target=$1 seconds=$2
directory=${3:-${TMPDIR:-/tmp}/japronto-fuzz}
shift "$(($# < 3 ? $# : 3))"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
JAPRONTO_PYTHON=$(command -v "${PYTHON:-python3}")
export JAPRONTO_PYTHON
export PYTHONPATH="$root:$root/tests" PYTHONDONTWRITEBYTECODE=1

C=$root/japronto/accel/csrc
set -- "$@" -max_len=4096 -timeout=300 -dict="$here/http.dict"
case $target in
scan)
    sources="$here/fuzz_scan.c $C/scan*.c" flags= ;;
lane | response)
    if ! error=$("$JAPRONTO_PYTHON" -c "import multipart, japronto.accel._scan" 2>&1); then
        echo "$JAPRONTO_PYTHON lacks something (${error##*Error: }); pip install -e . there, or set PYTHON" >&2
        exit 3
    fi
    sources="$here/embedded.c $C/lane*.c $C/scan*.c"
    flags="-DTARGET=\"fuzz.fuzz_$target\" $("$JAPRONTO_PYTHON" "$here/embedding.py")"
    set -- "$@" -detect_leaks=0 ;;  # what CPython and this target keep to the end is no leak
*)
    echo "there is no target $target" >&2
    exit 2 ;;
esac

mkdir -p "$directory/$target/seeds" "$directory/$target/found" "$directory/$target/findings"
cd "$directory/$target"
# shellcheck disable=SC2086 - there are several sources and several flags
clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -I"$C" $sources $flags -o fuzz
"$JAPRONTO_PYTHON" -m fuzz.corpus "$target" seeds
exec ./fuzz -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix=findings/ "$@" found seeds
