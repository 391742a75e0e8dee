#!/bin/bash
# Runs the demo in a folder of its own and removes that at the end, however it ends. HOLD=1 keeps everything up
# until Enter or Ctrl-C.
set -eu
dir=$(mktemp -d /tmp/kbmfa-demo.XXXXXX)
chmod 755 "$dir" # a server whose relay is Keybase does not run as root
trap 'rm -rf --one-file-system "$dir"' EXIT
trap 'exit 130' INT TERM
TMPDIR=$dir "$KBMFA_TARGET/debug/demo"
