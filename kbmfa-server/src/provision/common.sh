# What every program of kbmfa on a machine begins with: how it reads requests, checks them and writes files.
#
# It runs as root, over one SSH connection. Everything that varies arrives on standard input; nothing of it is
# ever evaluated by a shell. A request is a line "VERB BYTES SHA256 [SIGNATURE]" and then that many bytes; one that is cut
# off or damaged does nothing. Each line of a reply is a word from a fixed list and its fields, without spaces in them.
set -u
exec 2>/dev/null
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
unset IFS CDPATH ENV

keys=/etc/ssh/kbmfa/keys revoked=/etc/ssh/kbmfa/revoked state=/etc/ssh/kbmfa/state policy=/etc/ssh/kbmfa/policy
group=kbmfa-managed sudoers=/etc/sudoers.d
# Longest conversation, in seconds: a server that hangs holds the machine no longer. Below the server's own limit.
longest=100
# Of each file in a home up to 2 kB are always reported, and of all larger ones together this many bytes in base64.
room=1048576
slow=0
# Longest time of a command that runs as a user, in seconds.
patience=15
work=/run/kbmfa.$$

say() { printf '%s\n' "$*"; }
give_up() { say "failed $*"; exit 1; }

# What a name of an account must look like, whoever sent it.
is_name() {
  case $1 in
    "" | [!a-z_]* | *[!a-z0-9_-]*) return 1 ;;
  esac
  [ "${#1}" -le 32 ]
}
is_number() {
  case $1 in
    "" | *[!0-9]*) return 1 ;;
  esac
  [ "${#1}" -le 10 ]
}
is_counter() { # up to 18 digits, which every shell can compare
  case $1 in
    "" | *[!0-9]*) return 1 ;;
  esac
  [ "${#1}" -le 18 ]
}
is_hex() {
  case $1 in
    "" | *[!0-9a-f]*) return 1 ;;
  esac
  [ "${#1}" -le 64 ]
}
is_token() { # is_token TEXT: base64, hex, paths of shells
  case $1 in
    "" | *[!A-Za-z0-9+/=._-]*) return 1 ;;
  esac
}

hash_of() { sha256sum <"$1" | cut -d' ' -f1; }
encoded() { # standard input in base64; "-" for nothing
  local text
  text=$(base64 -w0)
  printf '%s' "${text:--}"
}
decoded() { # decoded TOKEN: "-" is empty
  [ "$1" = - ] || printf '%s' "$1" | base64 -d
}

# A directory in which nobody but root can change names, and so can all those above it.
is_roots_own() { # is_roots_own DIRECTORY
  local path=$1 what
  while :; do
    what=$(stat -c '%F %u %a' -- "$path" 2>/dev/null) || return 1
    case $what in
      "directory 0 "*[2367]?) return 1 ;;
      "directory 0 "*[2367]) return 1 ;;
      "directory 0 "*) ;;
      *) return 1 ;;
    esac
    [ "$path" = / ] && return 0
    path=${path%/*}
    [ -n "$path" ] || path=/
  done
}

make_directories() {
  for path in /etc/ssh /etc/ssh/kbmfa "$keys"; do
    [ -d "$path" ] || mkdir -m 755 -- "$path" || return 1
  done
  is_roots_own "$keys"
}

# Replaces a root-owned file in one step; leaves it alone, with its times, if it has this content already.
replace() { # replace NEW TARGET MODE: prints ok or changed
  local new=$1 target=$2 mode=$3 temporary
  if [ -f "$target" ] && [ ! -L "$target" ] && cmp -s -- "$new" "$target" &&
    [ "$(stat -c '%u %g %a' -- "$target")" = "0 0 $mode" ]; then
    say ok
    return 0
  fi
  temporary=$(mktemp -- "${target%/*}/.kbmfa.XXXXXX") || return 1
  if cat -- "$new" >"$temporary" && chmod "$mode" -- "$temporary" && sync -- "$temporary" &&
    [ ! -d "$target" ] && mv -fT -- "$temporary" "$target"; then
    command -v restorecon >/dev/null && restorecon -- "$target" >/dev/null 2>&1
    say changed
    return 0
  fi
  rm -f -- "$temporary"
  return 1
}

# Removes a file. Where the directory cannot be written, nothing helps, and it says so.
remove() { # remove TARGET: prints ok or changed
  [ -e "$1" ] || [ -L "$1" ] || { say ok; return 0; }
  [ ! -d "$1" ] || [ -L "$1" ] || return 1
  rm -f -- "$1" && say changed
}

# Sets entry, name, uid, gid, home, shell of the account; fails if there is none.
account() {
  local IFS=:
  entry=$(getent passwd -- "$1") || return 1
  set -f
  set -- "$1" $entry
  set +f
  [ "$2" = "$1" ] || return 1
  uid=$4 gid=$5 home=$7 shell=${8-}
  is_number "$uid" && is_number "$gid"
}

is_member() { # is_member GROUP NAME
  local list
  list=$(getent group -- "$1") || return 1
  case ,${list##*:}, in
    *,"$2",*) ;;
    *) return 1 ;;
  esac
}

as_user() { # as_user NAME COMMAND..: as the user, with nothing of root's left
  local name=$1
  shift
  if command -v setpriv >/dev/null; then
    timeout -k 1 "$patience" setpriv --reuid "$uid" --regid "$gid" --init-groups --no-new-privs \
      env -i "HOME=$home" PATH=/usr/bin:/bin LC_ALL=C "$@" 9>&-
  else
    timeout -k 1 "$patience" runuser -u "$name" -- env -i "HOME=$home" PATH=/usr/bin:/bin LC_ALL=C "$@" 9>&-
  fi
}

# Reads requests until "bye", and leaves each to `handle VERB SIGNATURE`, which finds its body in $work/in.
answer() {
  trap 'exit 1' HUP INT TERM PIPE
  # A redirection of `exec` that fails ends the shell without a word.
  local lock=/run/kbmfa-provision.lock
  touch -- "$lock" && [ -f "$lock" ] || give_up no-lock
  exec 9>"$lock"
  flock -w 20 9 || give_up busy
  say ready 1
  while read -r verb bytes sum signature; do
    [ "$verb" = bye ] && break
    is_number "${bytes:-x}" && [ "$bytes" -le 8388608 ] || give_up malformed
    head -c "$bytes" >"$work/in"
    [ "$(hash_of "$work/in")" = "$sum" ] || give_up damaged
    handle "$verb" "$signature"
    say end "$verb"
  done
  say bye
}

# A process and all that descend from it. Each is stopped before its children are listed, so that none is missed.
kill_tree() { # kill_tree PROCESS
  local process=$1 entry line
  kill -s STOP "$process" || return 0
  for entry in /proc/[0-9]*/stat; do
    read -r line <"$entry" || continue
    # "PID (NAME) STATE PARENT .."; the name may hold anything.
    line=${line##*) ? }
    [ "${line%% *}" != "$process" ] || { entry=${entry#/proc/} && kill_tree "${entry%/stat}"; }
  done
  kill -s KILL "$process"
}

# Runs the conversation, and ends it with all its children if it takes too long. Leaves nothing behind.
serve() {
  local stale
  for stale in /run/kbmfa.[0-9]*; do
    [ ! -d "$stale" ] || [ -d "/proc/${stale##*.}" ] || rm -rf -- "$stale"
  done
  rm -rf -- "$work"
  mkdir -m 700 -- "$work" || give_up no-work-directory
  exec 3<&0 </dev/null
  answer <&3 3<&- &
  worker=$!
  exec 3<&-
  { sleep "$longest"; kill_tree "$worker"; } >/dev/null &
  timer=$!
  trap 'kill_tree "$worker"; kill_tree "$timer"; rm -rf -- "$work"; exit 1' HUP INT TERM PIPE
  wait "$worker"
  kill_tree "$timer"
  rm -rf -- "$work"
}
