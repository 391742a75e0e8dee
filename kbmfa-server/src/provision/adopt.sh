# Accounts that others made: reports all of them, and takes over the one that an order names.

# True if sudoers names the account, its uid or one of its groups, or if a group of it is as good as root. Who adds a key
# to it could become root.
is_sudoer() { # is_sudoer NAME, after account NAME
  local one
  {
    say "$1"
    say "#$uid"
    set -f
    for one in $(id -Gn -- "$1"); do say "%$one"; done
    for one in $(id -G -- "$1"); do say "%#$one"; done
    set +f
  } >"$work/names"
  # By convention, also where sudoers is kept elsewhere; and groups whose members can make themselves root.
  grep -qxE '%(root|sudo|wheel|admin|docker|lxd|incus|libvirt|disk|shadow|kmem)' "$work/names" && return 0
  cat /etc/sudoers "$sudoers"/* | sed '/^[[:space:]]*#[^0-9]/d' | tr -d '\\' | tr -s '[:space:],=!:()"' '\n' |
    grep -qxFf "$work/names"
}

# True if root has written to this machine's own policy that the account may be taken over.
may_adopt() { # may_adopt NAME
  is_roots_file "$policy" && grep -qxF -- "adopt $1" "$policy"
}

survey() { # all accounts of people, whoever made them, and root's: at most 2000, 12 MB of keys, 60 s
  local word name number login rest managed known count=0 total=0 start
  admin=
  read -r word name rest <"$work/in"
  [ "$word" = admin ] && is_name "$name" && admin=$name
  [ -n "$admin" ] || give_up malformed
  timeout -k 2 20 getent passwd | head -c 4000000 >"$work/passwd"
  start=$(date +%s)
  while IFS=: read -r name rest number rest rest rest login; do
    is_number "$number" || continue
    [ "$number" -eq 0 ] || { [ "$number" -ge 1000 ] && [ "$number" -ne 65534 ]; } || continue
    case ${login##*/} in
      nologin | false | sync | shutdown | halt) continue ;;
    esac
    count=$((count + 1))
    [ "$count" -le 2000 ] || { say more; break; }
    if ! is_name "$name" || ! account "$name" || [ "$uid" -ne "$number" ]; then
      say other "$(printf '%s' "$name" | head -c 256 | encoded)" "$number"
      continue
    fi
    managed=0 known=0
    is_member "$group" "$name" && managed=1
    if is_sudoer "$name"; then known=1; may_adopt "$name" && known=2; fi
    say found "$name" "$uid" "$(printf '%s' "$shell" | head -c 256 | encoded)" "$managed" "$known"
    content=unreadable
    [ $(($(date +%s) - start)) -gt 60 ] || [ "$total" -gt 12000000 ] || read_home "$name"
    total=$((total + ${#content}))
    say home "$name" "$content"
  done <"$work/passwd"
}

step_adopt() { # NAME UID: marks an account that others made
  is_name "$1" && is_number "$2" || { say failed malformed; return; }
  account "$1" || { say failed absent; return; }
  [ "$uid" -eq "$2" ] || { say failed uid-differs; return; }
  [ "$uid" -ge 1000 ] && [ "$uid" -ne 65534 ] && [ "$1" != "$admin" ] || { say failed system-account; return; }
  if is_member "$group" "$1"; then say ok; return; fi
  if is_sudoer "$1" && ! may_adopt "$1"; then say failed in-sudoers; return; fi
  getent group -- "$group" >/dev/null || groupadd --system -- "$group" || { say failed groupadd; return; }
  usermod -a -G "$group" -- "$1" >/dev/null 2>&1 && say changed || say failed usermod
}

step_release() { # NAME: takes the mark off again
  owned "$1" || return 0
  gpasswd -d "$1" "$group" >/dev/null 2>&1 && say changed || say failed gpasswd
}

