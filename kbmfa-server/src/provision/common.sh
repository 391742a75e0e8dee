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
group=kbmfa-managed sudoers=/etc/sudoers.d max_file=262144
work=

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
    timeout -k 2 15 setpriv --reuid "$uid" --regid "$gid" --init-groups --no-new-privs \
      env -i "HOME=$home" PATH=/usr/bin:/bin LC_ALL=C "$@" 9>&-
  else
    timeout -k 2 15 runuser -u "$name" -- env -i "HOME=$home" PATH=/usr/bin:/bin LC_ALL=C "$@" 9>&-
  fi
}

# Reads requests until "bye", and leaves each to `handle VERB SIGNATURE`, which finds its body in $work/in.
serve() {
  work=$(mktemp -d /run/kbmfa.XXXXXX 2>/dev/null || mktemp -d) || give_up no-work-directory
  trap 'rm -rf -- "$work"' EXIT
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
