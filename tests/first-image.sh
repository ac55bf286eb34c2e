#!/bin/sh
# From a fresh clone to a booted image: sets up, builds oic, builds the smallest Debian 13 image and boots it to its login
# prompt. Needs no privilege. Arguments: another template.
set -eu
cd "$(dirname "$0")/.."
template=${1:-image-templates/debian13-$(uname -m)-minimal-raw.yml}

sh tests/setup.sh
cargo run --quiet --release --package xtask -- agents
cargo build --release
./target/release/oic build -o out/first-image "$template"
./target/release/oic boot --check out/first-image/*.raw
echo "The image is in out/first-image. Start it with: target/release/oic boot $(ls out/first-image/*.raw)"
