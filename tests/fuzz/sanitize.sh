#!/usr/bin/env bash
# Run a command with an accelerator that checks every access to memory, and all arithmetic.
#
#     tests/fuzz/sanitize.sh python -m pytest tests/accel tests/fuzz
#     tests/fuzz/sanitize.sh python3.13 tests/fuzz/fuzz_accel.py --count 300000
#
# The first word is the Python that the accelerator is built for, with the address sanitizer and
# that of undefined behaviour, in a temporary copy of the tree; there the command runs. It fails
# if the command does, or if there was any report: also in a child whose output nobody looks at.
# With CFLAGS more can be defined, or another level of optimization chosen. Needs GCC.

set -euo pipefail

if [ $# -eq 0 ]; then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$(command -v "$1")
case $python in /*) ;; *) python=$PWD/$python ;; esac
shift
compiler=${CC:-gcc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
reports=$work/reports
mkdir "$tree" "$reports"

# Without what was built: in the copy there shall be one accelerator only.
tar -c -C "$root" --exclude='*.so' --exclude=__pycache__ --exclude='./.*' --exclude=./build . |
    tar -x -C "$tree"

read -r -d '' paths <<'PYTHON' || true
import sysconfig
print(sysconfig.get_paths()["include"])
print(sysconfig.get_config_var("EXT_SUFFIX"))
PYTHON
{ read -r include && read -r suffix; } < <("$python" -c "$paths")
# The second sanitizer is linked in, or else it would tell the first one where to report, and
# write to stderr itself.
# shellcheck disable=SC2086
"$compiler" -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined \
    -fno-sanitize-recover=undefined -Wall -Wextra -Wno-missing-field-initializers \
    -Wno-cast-function-type -fPIC -shared -static-libubsan -Wl,-Bsymbolic ${CFLAGS:-} -I"$include" \
    "$tree/syncws/accel/csrc/speedups.c" -o "$tree/syncws/accel/_speedups$suffix"

# The interpreter isn't instrumented: the sanitizer must come first by other means. Python's own
# allocator would hide where blocks end. What a peer promises may be too much to allocate, which
# is an error like any other. The interpreter leaves some blocks behind on purpose.
export PYTHONMALLOC=malloc PYTHONPATH=$tree${PYTHONPATH:+:$PYTHONPATH}
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$reports/asan
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/ubsan
preload=$("$compiler" -print-file-name=libasan.so)

cd "$tree"
LD_PRELOAD=$preload "$python" -c '
import sys
from syncws.accel import _speedups
sys.exit(not _speedups.__file__.startswith(sys.argv[1]))
' "$tree" || {
    echo "the accelerator in $tree can't be used" >&2
    exit 1
}
status=0
LD_PRELOAD=$preload "$python" "$@" || status=$?

found=0
for report in "$reports"/*; do
    # Too large an allocation is a warning: the caller got NULL.
    if [ -e "$report" ] && grep -qE 'ERROR: AddressSanitizer|runtime error' "$report"; then
        found=$((found + 1))
        cat "$report" >&2
    fi
done
echo "sanitizers: $found reports; the command ended with status $status" >&2
[ "$found" -eq 0 ] && [ "$status" -eq 0 ]
