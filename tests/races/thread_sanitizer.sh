#!/usr/bin/env bash
# Run threads that meet in one connection (stress.py) where every race between them is noticed.
#
#     tests/races/thread_sanitizer.sh                            # all kinds
#     tests/races/thread_sanitizer.sh --rounds 30 --only roles   # what stress.py takes
#
# The accelerator and a free-threaded CPython 3.13 are built with ThreadSanitizer. Two threads that
# access the same memory, one of them writing, without a lock or an atomic between, are a report;
# so the program sees what x86 would forgive and ARM would not. What is suppressed, and why, stands
# in suppressions.txt. It fails if there was any other report, or if the program does.
#
# Made for Debian: there it installs what is missing (as root: clang 19, headers of libraries), and
# takes CPython's source from Debian's archive. The first run builds the interpreter, which takes
# some minutes and is kept; then it takes one. In the environment may be:
#
#     CACHE    where the interpreter is kept; without that directory it is built again
#     SOURCE   CPython's source, a directory or a tarball, in place of Debian's
#     SUITE    Debian's suite to take the source from (trixie)
#     CC       another clang

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncws-thread-sanitizer}
compiler=${CC:-clang-19}
python=$cache/python/bin/python3.13t

case ${1:-} in
-h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

install_what_is_missing() {
    local packages=()
    command -v "$compiler" >/dev/null || packages+=(clang-19 libclang-rt-19-dev llvm-19)
    command -v make >/dev/null || packages+=(make)
    command -v xz >/dev/null || packages+=(xz-utils)
    command -v openssl >/dev/null || packages+=(openssl)
    [ -e /usr/include/openssl/ssl.h ] || packages+=(libssl-dev)
    [ -e /usr/include/zlib.h ] || packages+=(zlib1g-dev)
    if [ ${#packages[@]} -gt 0 ]; then
        apt-get update -q
        apt-get install -q -y --no-install-recommends "${packages[@]}"
    fi
}

# Download a source package of another suite, with lists of our own: those of the machine stay.
download_source() {
    local apt=$1/apt mirror options
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        sed -nE 's/^(URIs:|deb( +\[[^]]*\])?) +(\S+).*/\3/p' | head -n 1)
    mkdir -p "$apt"/etc/apt/{preferences.d,apt.conf.d} "$apt"/var/lib/{apt/lists/partial,dpkg} \
        "$apt/var/cache/apt/archives/partial"
    : >"$apt/var/lib/dpkg/status"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror" \
        "${SUITE:-trixie} main" >"$apt/etc/apt/sources.list"
    options=(-q -o "Dir=$apt" -o "Dir::State::status=$apt/var/lib/dpkg/status"
        -o APT::Sandbox::User=root -o Debug::NoLocking=1)
    apt-get "${options[@]}" update
    (cd "$1" && apt-get "${options[@]}" source --download-only python3.13)
}

build_python() {
    local build=$cache/build source=${SOURCE:-}
    rm -rf "$build" "$cache/python"
    mkdir -p "$build/source" "$build/objects"
    if [ -z "$source" ]; then
        download_source "$build"
        source=$(echo "$build"/python3.13_*.orig.tar.xz)
    fi
    if [ -d "$source" ]; then
        cp -a "$source/." "$build/source"
    else
        tar -xf "$source" -C "$build/source" --strip-components=1
    fi
    cd "$build/objects"
    CC=$compiler ../source/configure -q --prefix="$cache/python" --disable-gil \
        --with-thread-sanitizer --disable-test-modules --without-ensurepip \
        OPT="-O1 -g1 -DNDEBUG"
    make -s -j"$(nproc)"
    make -s install
    cd "$root"
    rm -rf "$build"
}

install_what_is_missing
if [ ! -x "$python" ]; then
    mkdir -p "$cache"
    echo "building an interpreter in $cache, which takes some minutes" >&2
    build_python >"$cache/log" 2>&1 || {
        tail -n 20 "$cache/log" >&2
        exit 1
    }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
reports=$work/reports
mkdir "$tree" "$reports"
tar -c -C "$root" --exclude='*.so' --exclude=__pycache__ syncws tests/races | tar -x -C "$tree"
"$compiler" -g -O1 -DNDEBUG -fno-omit-frame-pointer -fsanitize=thread -Wall -Wextra -fPIC -shared \
    -I"$cache/python/include/python3.13t" "$tree/syncws/accel/csrc/speedups.c" \
    -o "$tree/syncws/accel/_speedups.cpython-313t-$(uname -m)-linux-gnu.so"

# The sanitizer needs memory at addresses that randomization may take.
fixed=()
setarch -R true 2>/dev/null && fixed=(setarch -R)
cd "$tree"
"${fixed[@]}" "$python" -c '
import sys
from syncws.accel import _speedups
sys.exit(not _speedups.__file__.startswith(sys.argv[1]) or sys._is_gil_enabled())
' "$tree" || {
    echo "the accelerator in $tree can't be used" >&2
    exit 1
}
settings=suppressions=$tree/tests/races/suppressions.txt:log_path=$reports/report:history_size=4
status=0
TSAN_OPTIONS=$settings:exitcode=0:${TSAN_OPTIONS:-} "${fixed[@]}" "$python" tests/races/stress.py \
    "$@" || status=$?

found=$(cat "$reports"/* 2>/dev/null | grep -c '^WARNING: ThreadSanitizer' || true)
cat "$reports"/* 2>/dev/null >&2 || true
echo "ThreadSanitizer: $found reports; the program ended with status $status" >&2
[ "$found" -eq 0 ] && [ "$status" -eq 0 ]
