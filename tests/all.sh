#!/bin/sh
# Runs every test: units, properties, CLI snapshots, the session with injected faults, and images built in the real VM and booted.
# Needs no privilege; a test that this machine cannot run says so and is listed as skipped. Arguments go to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

sh tests/setup.sh
cargo xtask agents
# A program to run test programs with, where they are to run as somebody else than who builds them.
if [ -n "${OIC_TEST_RUNNER:-}" ]; then
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=$OIC_TEST_RUNNER"
fi
cargo test --workspace --no-fail-fast "$@"
