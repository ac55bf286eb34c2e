#!/bin/sh
# Runs every test: units, properties, CLI snapshots, the session with injected faults, and images built in the real VM and booted.
# Needs no privilege; a test that this machine cannot run says so and is listed as skipped. Arguments go to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

sh tests/setup.sh
cargo xtask agents
cargo test --workspace --no-fail-fast "$@"
