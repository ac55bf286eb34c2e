#!/bin/sh
# Checks what building oic needs of the machine: cargo, and a C compiler and linker. What is missing is installed where that is
# allowed (root on a Debian-family machine), else named in one line. Everything else, QEMU included, oic fetches for itself.
set -eu

if ! command -v cargo >/dev/null 2>&1; then
    echo "missing: cargo. Install Rust 1.89 or newer: https://rustup.rs" >&2
    exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null
    else
        echo "missing: a C compiler. As root: apt-get install gcc libc6-dev" >&2
        exit 1
    fi
fi
