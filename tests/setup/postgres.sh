#!/bin/bash
# Runs a command with a PostgreSQL server of its own, in a temporary folder, as an ordinary account; the server ends with
# the command. KBMFA_TEST_POSTGRES says where it is. `make setup` unpacks the server into .cache.
# Usage: postgres.sh COMMAND [ARGUMENT ..]
set -euo pipefail

bin=$(cd "$(dirname "$0")/../.." && pwd)/.cache/postgresql-15/usr/lib/postgresql/15/bin
[ -x "$bin/postgres" ] || { echo "there is no $bin/postgres: run make setup" >&2; exit 1; }
folder=$(mktemp -d /tmp/kbmfa-postgres.XXXXXX)

# PostgreSQL refuses to run as root.
ordinary() {
  if [ "$(id -u)" = 0 ]; then unshare --user --map-user=1000 --map-group=1000 "$@"; else "$@"; fi
}

stop() {
  ordinary "$bin/pg_ctl" --pgdata "$folder/data" --mode immediate --silent stop || true
  rm -rf "$folder"
}
trap stop EXIT

# Names and ids are ordered by their bytes, as in SQLite; nothing of this outlives the command, so it need not be on disk.
ordinary "$bin/initdb" --pgdata "$folder/data" --auth trust --username kbmfa --no-locale --encoding UTF8 --no-sync \
  >"$folder/initdb.log" || { cat "$folder/initdb.log" >&2; exit 1; }
ordinary "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/log" --silent --wait start \
  --options "-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off -c max_connections=400" \
  || { cat "$folder/log" >&2; exit 1; }
KBMFA_TEST_POSTGRES="host=$folder user=kbmfa dbname=postgres" "$@"
