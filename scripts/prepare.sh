# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What scripts/demo, scripts/test and .ci/run share: the tools they need, and a build folder.
# To be sourced.

# The Debian packages to build the library and its examples, and to test it.
build_packages=(gcc libc6-dev meson ninja-build)
# shellcheck disable=SC2034 # for who sources this
test_packages=("${build_packages[@]}" g++ pkg-config libcmocka-dev)
# ... and what some of the examples are for, which are left out without it.
# shellcheck disable=SC2034
example_packages=(pkg-config libuv1-dev libevent-dev libglib2.0-dev libssl-dev openssl)

# What the peers of tests/peers need; each is left out where it can't be had.
# shellcheck disable=SC2034
language_packages=(
    cargo default-jdk-headless erlang-base golang-go libnetty-java librust-bytes-dev
    librust-futures-util-dev librust-tokio-dev librust-tokio-util-dev python3-twisted rustc
)

# Debian's own, for meson is made for it; another may come first in PATH.
python=/usr/bin/python3
[ -x "$python" ] || python=python3

say() {
    printf '== %s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

have_one_of() {
    local name
    for name in "$@"; do
        if have "$name"; then
            return 0
        fi
    done
    return 1
}

# have_tool PACKAGE: whether what the Debian package is for is there, from wherever it came.
have_tool() {
    case $1 in
        gcc) have_one_of cc gcc clang ;;
        g++) have_one_of c++ g++ ;;
        libc6-dev) compiles "$(compiler)" ;;
        ninja-build) have_one_of ninja ninja-build samu ;;
        pkg-config) have_one_of pkg-config pkgconf ;;
        libcmocka-dev) have_library cmocka ;;
        libevent-dev) have_library libevent_core ;;
        libglib2.0-dev) have_library gio-unix-2.0 ;;
        libssl-dev) have_library openssl ;;
        libuv1-dev) have_library libuv ;;
        abigail-tools) have abidiff ;;
        libclang-rt-dev) clang_has_sanitizers ;;
        debhelper) have dh ;;
        gcc-*-linux-gnu) have "${1#gcc-}-gcc" ;;
        dpkg-dev) have dpkg-buildflags ;;
        iproute2) have ip ;;
        libc6-dev-arm64-cross) compiles aarch64-linux-gnu-gcc ;;
        libc6-dev-i386-cross) compiles i686-linux-gnu-gcc ;;
        libc6-dev-s390x-cross) compiles s390x-linux-gnu-gcc ;;
        libnginx-mod-stream) [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] ;;
        llvm) have llvm-cov ;;
        man-db) have man ;;
        musl-tools) have musl-gcc ;;
        nginx-light) have nginx ;;
        qemu-user) have qemu-s390x ;;
        systemd) have systemd-socket-activate ;;
        systemtap-sdt-dev) echo '#include <sys/sdt.h>' | "$(compiler)" -E - >/dev/null 2>&1 ;;
        *) have "$1" ;;
    esac
}

# compiles COMPILER: whether it has a libc's headers.
compiles() {
    echo '#include <stdio.h>' | "$1" -E - >/dev/null 2>&1
}

have_library() {
    have_tool pkg-config && pkg-config --exists "$1"
}

compiler() {
    local name
    for name in ${CC:-} cc gcc clang; do
        if have "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    echo cc
}

clang_has_sanitizers() {
    echo 'int main(void) { return 0; }' |
        clang -fsanitize=address -x c - -o /dev/null >/dev/null 2>&1
}

# as_root COMMAND...: fails at once where a password would be asked for.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    have apt-get && as_root true 2>/dev/null
}

missing_of() {
    local package
    for package in "$@"; do
        have_tool "$package" || printf '%s ' "$package"
    done
}

# need PACKAGE...: installs the Debian packages whose tools are missing, or says which they are.
need() {
    local missing
    missing=$(missing_of "$@")
    if [ -z "$missing" ]; then
        return
    fi
    if ! may_install; then
        die "missing: $missing- on Debian or Ubuntu, install them with
    sudo apt-get install $missing"
    fi

    say "installing: $missing"
    as_root apt-get update -qq >&2 || say 'apt-get update failed; trying with the old lists'
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >&2 </dev/null ||
        die "apt-get could not install: $missing"

    missing=$(missing_of "$@")
    [ -z "$missing" ] || die "still missing, though installed: $missing"
}

# want PACKAGE...: installs Debian packages that can be done without, one by one; says which can't.
want() {
    local package
    have dpkg-query || return 0
    for package in "$@"; do
        if dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            continue
        fi
        say "installing: $package"
        if ! may_install || ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
            --no-install-recommends "$package" >/dev/null 2>&1 </dev/null; then
            say "without $package"
        fi
    done
}

check_meson() {
    local version
    version=$(meson --version) || die "meson does not run: $(command -v meson)"
    [ "${version%%.*}" -ge 1 ] || die "meson $version is too old: 1.0 or later is needed"
}

# build_in FOLDER OPTION...: a configured and compiled build, whatever was in FOLDER before.
build_in() {
    local folder=$1
    shift
    check_meson
    mkdir -p "$(dirname "$folder")"
    if [ -d "$folder" ] && ! meson setup --reconfigure "$folder" "$@" >"$folder.log" 2>&1; then
        rm -rf "$folder"
    fi
    if [ ! -d "$folder" ] && ! meson setup "$folder" "$@" >"$folder.log" 2>&1; then
        cat "$folder.log" >&2
        die "meson could not configure $folder"
    fi
    meson compile -C "$folder" >"$folder.log" 2>&1 || {
        cat "$folder.log" >&2
        die "the build in $folder failed"
    }
}

# run_tests FOLDER OPTION...: runs the tests of a build, and ends with their count.
run_tests() {
    local folder=$1 status=0
    local logs=("$folder"/meson-logs/testlog*.json)
    shift
    rm -f "${logs[@]}"
    meson test -C "$folder" --no-rebuild --print-errorlogs "$@" || status=$?
    # With a wrapper, its name is in the log's.
    logs=("$folder"/meson-logs/testlog*.json)
    [ -f "${logs[0]}" ] || die "meson test ended with status $status"
    "$python" scripts/count.py "${logs[0]}" || status=1
    return "$status"
}
