#!/bin/bash
# Runs each fuzz target, or the one that is named, for so many seconds. What it finds goes into the corpus by hand, and
# the unit tests replay that. cargo-fuzz lies in .cache; libFuzzer's instrumentation is a nightly feature, which a stable
# compiler takes with RUSTC_BOOTSTRAP. Usage: fuzz.sh SECONDS [TARGET]
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
tools=$(cd ../.. && pwd)/.cache/cargo-fuzz
if [ ! -x "$tools/bin/cargo-fuzz" ]; then cargo install --locked --quiet --root "$tools" cargo-fuzz; fi
export RUSTC_BOOTSTRAP=1 PATH=$tools/bin:$PATH
for target in targets/${2:-*}.rs; do
  name=$(basename "$target" .rs)
  echo "fuzz: $name for $seconds s" >&2
  found=$(mktemp -d)
  cp corpus/"$name"/* "$found"
  # The corpus in the repository stays small: only a crash is worth keeping, and is copied there by hand.
  cargo fuzz run --fuzz-dir . "$name" "$found" -- -max_total_time="$seconds" -timeout=5 -max_len=65536
  rm -rf "$found"
done
