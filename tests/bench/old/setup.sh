#!/bin/bash
# Makes what the old tool's way needs beside `make setup`: curl, and Flask in a venv in .cache. Again is harmless and quick.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../../.." && pwd)/.cache/bench/python

for needed in python3 curl; do
  command -v "$needed" >/dev/null || { echo "bench: $needed is not installed" >&2; exit 1; }
done
if cmp --silent "$here/requirements.txt" "$venv/made-of"; then exit 0; fi
echo "bench: making a Python environment with Flask in $venv" >&2
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
cp "$here/requirements.txt" "$venv/made-of"
