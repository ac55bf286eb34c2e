#!/bin/sh
# Checks what building oic needs of the machine: cargo, and a C compiler and linker. What is missing is installed where that is
# allowed (root on a Debian-family machine), else named in one line. Everything else, QEMU included, oic fetches for itself, but for
# the tests of RPM images, which make a distribution of their own: without its makers they are skipped.
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
missing=""
for pair in python3:python3 rpmbuild:rpm createrepo_c:createrepo-c gpg:gnupg gpgv:gpgv; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null || true
elif [ -n "$missing" ]; then
    echo "note: tests of RPM images are skipped without:$missing" >&2
fi
