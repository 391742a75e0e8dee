#!/bin/bash
# Drives the double through Keybase's own libraries: pykeybasebot 0.2.1 and keybase-bot 3.6.1, unchanged.
# Needs python3 with venv, node with npm, and their registries the first time. Fails at the first thing that does not match.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=$root/.cache/keybase
keybase=${KBMFA_TARGET:-$root/target}/debug/keybase

for needed in python3 node npm; do
	command -v "$needed" >/dev/null || { echo "prove.sh: $needed is not installed" >&2; exit 1; }
done
if ! [ -e "$cache/python.made" ]; then
	python3 -m venv --clear "$cache/python"
	"$cache/python/bin/pip" install --quiet --disable-pip-version-check pykeybasebot==0.2.1
	touch "$cache/python.made"
fi
if ! [ -e "$cache/node.made" ]; then
	mkdir -p "$cache/node"
	npm install --prefix "$cache/node" --silent --no-audit --no-fund keybase-bot@3.6.1
	touch "$cache/node.made"
fi

dir=$(mktemp -d /tmp/kdXXXXXX)
trap 'rm -rf "$dir"' EXIT
ln -s "$keybase" "$dir/keybase"
# The libraries copy the program elsewhere, and know nothing of our habits.
export KEYBASE_DOUBLE_CLOUD=$dir/cloud.sock KEYBASE_ALLOW_ROOT=1 HOME=$dir PATH=$dir:$PATH
coproc CLOUD { exec keybase double cloud; }
read -r ready <&"${CLOUD[0]}"
echo "$ready"

for user in alice bob; do keybase double add-user "$user" >/dev/null; done
key() { keybase double add-user "$1" | sed 's/.*"paper_key":"\([^"]*\)".*/\1/'; }
pykey=$(key pybot)
jskey=$(key jsbot)
keybase double add-team acme alice >/dev/null
keybase double set-member acme bob reader
keybase double add-channel acme python >/dev/null
keybase double add-channel acme node >/dev/null
keybase double set-member acme pybot bot
keybase double set-member acme jsbot bot

keybase --home "$dir/py" service 2>/dev/null &
keybase --home "$dir/py" ctl wait
echo "python: $("$cache/python/bin/python" --version), pykeybasebot 0.2.1"
KEYBASE_PAPERKEY= "$cache/python/bin/python" "$here/prove.py" "$dir/py" pybot "$pykey"
keybase --home "$dir/py" ctl stop
keybase double wait-listeners 0 # the library leaves its listener behind; that ends with the service
echo "node: $(node --version), keybase-bot 3.6.1"
NODE_PATH=$cache/node/node_modules node "$here/prove.js" jsbot "$jskey"

same() { diff -u "$1" <(keybase double view "$2") || { echo "prove.sh: $2 looks otherwise" >&2; exit 1; }; }
same "$here/python.txt" acme#python
same "$here/node.txt" acme#node
echo "the double is used by both libraries as the real client is"
