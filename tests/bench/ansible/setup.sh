#!/bin/bash
# Makes what the comparison with Ansible needs beside `make setup`: ansible-core in a venv in .cache, and of the package
# `ansible` the one collection with `authorized_key`. Again is harmless and quick.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../../.." && pwd)/.cache/bench/ansible
# The release of the package that goes with this ansible-core.
package=ansible==12.3.0

command -v python3 >/dev/null || { echo "bench: python3 is not installed" >&2; exit 1; }
if [ "$(cat "$venv/made-of" 2>/dev/null)" = "$(cat "$here/requirements.txt") $package" ]; then exit 0; fi
echo "bench: making a Python environment with Ansible in $venv" >&2
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
"$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$venv/download" "$package"
"$venv/bin/python" - "$venv" <<'PYTHON'
import pathlib, sys, zipfile
venv = pathlib.Path(sys.argv[1])
[wheel] = (venv / "download").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    wanted = [name for name in archive.namelist() if name.startswith("ansible_collections/ansible/posix/")]
    archive.extractall(venv / "collections", wanted)
PYTHON
rm -r "$venv/download"
echo "$(cat "$here/requirements.txt") $package" > "$venv/made-of"
