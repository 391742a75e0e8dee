# kbmfa on a machine: reports accounts and keys, and carries out single steps, each checked again here.

# True for an account that may be changed: ours by its mark, never a system account.
is_ours() { # is_ours NAME, after account NAME
  [ "$uid" -ge 1000 ] && [ "$1" != "$admin" ] && is_member "$group" "$1"
}

# ---- reports

report_host() {
  local id generation="- - -" helper=- installation epoch counter
  id=$(machine_id)
  if [ -e "$state" ] || [ -L "$state" ]; then
    generation="odd 0 0"
    if read_state; then generation="$installation $epoch $counter"; fi
  fi
  say host "${id:--}" $generation
  if [ -f "$revoked" ] && [ ! -L "$revoked" ]; then say revoked "$(hash_of "$revoked")"; else say revoked -; fi
  # As the installed helper, this file is what runs.
  [ "$0" != /usr/local/libexec/kbmfa-helper ] || helper=$(hash_of "$0")
  say program "$helper" "$(signers_found)"
}

report_policy() { # the sudo profiles that the machine allows
  local line profile sum
  say policy
  is_roots_file "$policy" || return 0
  head -c 65536 -- "$policy" | while IFS= read -r line; do
    profile=${line#sudo } sum=${line##* }
    profile=${profile%% *}
    is_token "$profile" && is_hex "$sum" && [ "$line" = "sudo $profile $sum" ] && say policy "$profile" "$sum"
  done
}

report_sshd() { # report_sshd ACCOUNT: what sshd would do for it
  local sshd
  sshd=$(command -v sshd) || { say sshd missing; return; }
  "$sshd" -T -C "user=$1,host=localhost,addr=127.0.0.1" 2>/dev/null | while read -r name values; do
    case $name in
      authorizedkeysfile | revokedkeys | usepam | pubkeyauthentication) say sshd "$name" "$(printf '%s' "$values" | encoded)" ;;
    esac
  done
}

report_account() { # report_account NAME
  local shadow expire=- locked=0 managed=0 file=-
  if ! account "$1"; then
    say absent "$1"
  else
    shadow=$(getent shadow -- "$1") || shadow=
    expire=$(printf '%s' "$shadow" | cut -d: -f8)
    case $(printf '%s' "$shadow" | cut -d: -f2) in
      '!'*) locked=1 ;;
    esac
    is_member "$group" "$1" && managed=1
    say account "$1" "$uid" "$gid" "$(printf '%s' "$home" | encoded)" "$(printf '%s' "$shell" | encoded)" "$locked" \
      "${expire:--}" "$managed"
  fi
  if [ -e "$keys/$1" ] || [ -L "$keys/$1" ]; then
    file=odd
    if [ -f "$keys/$1" ] && [ ! -L "$keys/$1" ] && [ "$(stat -c '%u %g %a' -- "$keys/$1")" = "0 0 644" ]; then
      file=$(hash_of "$keys/$1")
    fi
  fi
  say keys "$1" "$file"
  for file in "$sudoers/kbmfa+$1+"*; do
    [ -f "$file" ] && say sudo "$1" "$(printf '%s' "${file##*+}" | tr -cd 'a-z0-9-')" "$(hash_of "$file")"
  done
}

report_home() { # report_home NAME: authorized_keys as the user reads it
  account "$1" && [ "$uid" -ge 1000 ] || return 0
  read_home "$1"
  say home "$1" "$content"
}

read_home() { # read_home NAME, after account NAME: sets content
  local code
  # Homes that hang, such as those on a dead server, hold up the others only for so long.
  patience=5
  [ "$slow" -lt 3 ] || patience=1
  as_user "$1" sh -c '
    cd -P -- "$HOME" 2>/dev/null || { echo no-home; exit; }
    [ -d .ssh ] || { [ -L .ssh ] && echo odd || echo -; exit; }
    [ ! -L .ssh ] || { echo odd; exit; }
    [ -e .ssh/authorized_keys ] || { [ -L .ssh/authorized_keys ] && echo odd || echo -; exit; }
    [ -f .ssh/authorized_keys ] && [ ! -L .ssh/authorized_keys ] && [ -r .ssh/authorized_keys ] || { echo odd; exit; }
    [ "$(head -c 262145 .ssh/authorized_keys | wc -c)" -le 262144 ] || { echo large; exit; }
    content=$(head -c 262144 .ssh/authorized_keys | base64 -w0)
    echo "${content:-empty}"' >"$work/reply" 2>/dev/null </dev/null
  code=$?
  patience=15
  case $code in
    124 | 137) slow=$((slow + 1)) ;;
  esac
  head -c 400000 -- "$work/reply" | head -n1 >"$work/home"
  read -r content <"$work/home" || content=
  is_token "${content:-unreadable}" || content=unreadable
  content=${content:-unreadable}
  if [ "${#content}" -gt 2732 ]; then
    if [ "${#content}" -le "$room" ]; then room=$((room - ${#content})); else content=large; fi
  fi
}

look() {
  local word name rest
  admin= place=
  while read -r word name rest; do
    case $word in
      admin) is_name "$name" && admin=$name ;;
      place) place=$name ;;
    esac
  done <"$work/in"
  [ -n "$admin" ] || give_up malformed
  report_host
  report_policy
  while read -r word name rest; do
    [ "$word" = account ] || continue
    is_name "$name" || give_up malformed
    report_account "$name"
    [ "$place" = home ] && report_home "$name"
  done <"$work/in"
  # Accounts with our mark, and key files, that nobody asked about.
  getent group -- "$group" | sed 's/.*://' | tr , '\n' | while read -r name; do
    is_name "$name" && ! grep -qx -- "account $name" "$work/in" && report_account "$name"
  done
  for name in "$keys"/* "$keys"/.[!.]*; do
    [ -e "$name" ] || [ -L "$name" ] || continue
    name=${name##*/}
    is_name "$name" && grep -qx -- "account $name" "$work/in" && continue
    [ "$name" = "$admin" ] && continue
    say stray "$(printf '%s' "$name" | head -c 256 | encoded)"
  done
  report_sshd "$admin"
}

# ---- steps: each prints "ok", "changed" or "failed REASON", after its number

step_create() { # NAME UID SHELL
  local name=$1 code=0
  is_name "$1" && is_number "$2" && is_token "$3" && [ "$2" -ge 1000 ] || { say failed malformed; return; }
  if account "$1"; then say failed exists; return; fi
  if getent passwd -- "$2" >/dev/null; then say failed uid-taken; return; fi
  if getent group -- "$1" >/dev/null || getent group -- "$2" >/dev/null; then say failed group-taken; return; fi
  # The group of the account would have what sudoers grants to a group of this name.
  if cat /etc/sudoers "$sudoers"/* | grep -q "^[[:space:]]*%$1[[:space:]]"; then say failed group-in-sudoers; return; fi
  [ -x "$3" ] || { say failed no-shell; return; }
  getent group -- "$group" >/dev/null || groupadd --system -- "$group" || { say failed groupadd; return; }
  if [ -e "/home/$1" ] || [ -L "/home/$1" ]; then say failed home-exists; return; fi
  # With "*" instead of "!" sshd lets a key in also where it does not use PAM.
  useradd -m -U -u "$2" -s "$3" -G "$group" -p '*' -- "$1" </dev/null >"$work/out" 2>&1 || code=$?
  case $code in
    0) say changed ;;
    1 | 10) if [ -e /etc/.pwd.lock ]; then say failed busy; else say failed useradd-$code; fi ;;
    *) say failed useradd-$code ;;
  esac
}

owned() { # owned NAME: the account is there and ours
  is_name "$1" || { say failed malformed; return 1; }
  account "$1" || { say failed absent; return 1; }
  is_ours "$1" || { say failed not-ours; return 1; }
}

step_enable() { # NAME SHELL
  owned "$1" || return 0
  is_token "$2" && [ -x "$2" ] || { say failed no-shell; return; }
  local shadow password
  shadow=$(getent shadow -- "$1") || { say failed shadow; return; }
  password=$(printf '%s' "$shadow" | cut -d: -f2)
  case $password in
    '!'?*) usermod -U -- "$1" >/dev/null 2>&1 || usermod -p '*' -- "$1" || { say failed usermod; return; } ;;
    '!' | '') usermod -p '*' -- "$1" || { say failed usermod; return; } ;;
  esac
  usermod -e '' -s "$2" -- "$1" >/dev/null 2>&1 && say changed || say failed usermod
}

step_disable() { # NAME [keep]: as much of it as is possible; with "keep", sessions go on
  owned "$1" || return 0
  local failed=
  usermod -L -e 1 -s /usr/sbin/nologin -- "$1" >/dev/null 2>&1 || failed=usermod
  # Debian's place, and that of the RHEL family.
  rm -f -- "/var/spool/cron/crontabs/$1"
  [ ! -f "/var/spool/cron/$1" ] || rm -f -- "/var/spool/cron/$1"
  # Jobs of at(1), in both places. A job is a file of the account in a directory that only the daemon writes.
  for spool in /var/spool/cron/atjobs /var/spool/at; do
    [ -d "$spool" ] && find "$spool" -maxdepth 1 -type f -uid "$uid" -exec rm -f -- {} + >/dev/null 2>&1
  done
  command -v loginctl >/dev/null && loginctl disable-linger "$1" >/dev/null 2>&1
  if [ "${2-}" != keep ]; then
    end_sessions "$1"
    if [ -z "$failed" ] && has_processes; then failed=still-running; fi
  fi
  if [ -n "$failed" ]; then say failed "$failed"; else say changed; fi
}

step_end_sessions() { # NAME
  owned "$1" || return 0
  has_processes || { say ok; return; }
  end_sessions "$1"
  if has_processes; then say failed still-running; else say changed; fi
}

end_sessions() { # end_sessions NAME, after account NAME: TERM, up to 5 s, KILL
  local left=20
  if command -v systemctl >/dev/null; then
    # The user's own manager would start its units again.
    timeout -k 2 5 systemctl --no-block stop "user@$uid.service" "user-$uid.slice" >/dev/null 2>&1
  fi
  command -v loginctl >/dev/null && loginctl terminate-user "$1" >/dev/null 2>&1
  # sshd's own process of a login that is under way, which runs as root. Its title is sshd's, and anybody who can write one
  # like it owns that process.
  for process in $(grep -lsaE "^sshd(-session|-auth)?: $1 \[priv\]" /proc/[0-9]*/cmdline); do
    process=${process#/proc/}
    kill -s TERM "${process%/cmdline}" 2>/dev/null
  done
  signal_all TERM
  while [ "$left" -gt 0 ] && has_processes; do
    sleep 0.25
    left=$((left - 1))
  done
  # What forks meanwhile is met by the next round.
  left=20
  while [ "$left" -gt 0 ] && has_processes; do
    signal_all KILL
    sleep 0.1
    left=$((left - 1))
  done
}

processes() { # the processes whose real uid is $uid
  local entry word real rest
  for entry in /proc/[0-9]*; do
    while read -r word real rest; do
      [ "$word" = Uid: ] && { [ "$real" = "$uid" ] && say "${entry#/proc/}"; break; }
    done 2>/dev/null <"$entry/status"
  done
}
has_processes() { [ -n "$(processes)" ]; }
signal_all() { # signal_all SIGNAL
  local process
  for process in $(processes); do kill -s "$1" "$process" 2>/dev/null; done
}

step_keys() { # NAME TOKEN|-
  is_name "$1" || { say failed malformed; return; }
  if [ "$2" = - ]; then
    [ "$1" != "$admin" ] || { say failed admin; return; }
    is_roots_own "$keys" || { [ -e "$keys" ] && say failed directory || say ok; return; }
    remove "$keys/$1" || say failed remove
    return
  fi
  owned "$1" || return 0
  is_token "$2" && decoded "$2" >"$work/new" || { say failed malformed; return; }
  make_directories || { say failed directory; return; }
  put_keys "$1"
}

# Writes its key file. Where that fails and a key has to go, the file goes: better no key than a lost one.
put_keys() { # put_keys NAME, with the content in $work/new
  local file=$keys/$1
  replace "$work/new" "$file" 644 && return
  # The keys that stay, without our options and comments.
  sed '/^#/d; s/ kbmfa:[^ ]*$//; s/^expiry-time="[^"]*" //' "$work/new" >"$work/stay" || { say failed write; return; }
  if [ ! -L "$file" ]; then
    [ -f "$file" ] && sed '/^#/d; /^[[:space:]]*$/d' "$file" | grep -qvF -f "$work/stay" || { say failed write; return; }
  fi
  remove "$file" >/dev/null && say failed unlinked || say failed remove
}

step_without() { # NAME TOKEN: takes these keys out of its key file, and leaves the other lines as they are
  is_name "$1" && is_token "$2" && decoded "$2" >"$work/lost" || { say failed malformed; return; }
  # An empty line would fit every key.
  [ -s "$work/lost" ] && ! grep -q '^$' "$work/lost" || { say failed malformed; return; }
  [ "$1" != "$admin" ] || { say failed admin; return; }
  [ -e "$keys/$1" ] || [ -L "$keys/$1" ] || { say ok; return; }
  is_roots_own "$keys" || { say failed directory; return; }
  [ -f "$keys/$1" ] && [ ! -L "$keys/$1" ] || { say failed odd; return; }
  grep -vF -f "$work/lost" -- "$keys/$1" >"$work/new"
  # 1: no line is left.
  [ $? -le 1 ] || { say failed read; return; }
  put_keys "$1"
}

# Where a file with a key that has to go ("lose") cannot be written, it is set aside: better no key than a lost one.
step_home() { # NAME OLD-SHA256|- TOKEN|- keep|lose: the whole file, if it still has the content that the server saw
  owned "$1" || return 0
  is_token "$2" && is_token "$3" || { say failed malformed; return; }
  decoded "$3" | as_user "$1" sh -c '
    umask 077
    old=$1
    fail() {
      [ -z "${new-}" ] || rm -f "$new"
      if [ "$2" = lose ] && [ -f authorized_keys ] &&
        { mv -fT authorized_keys authorized_keys.kbmfa || rm -f authorized_keys; }; then
        echo failed set-aside
      else
        echo failed write
      fi
      exit
    }
    cd -P -- "$HOME" 2>/dev/null || { echo failed no-home; exit; }
    [ ! -L .ssh ] || { echo failed odd; exit; }
    [ -d .ssh ] || mkdir -m 700 .ssh || { echo failed write; exit; }
    cd -P .ssh && [ "$(pwd -P)" = "$(cd -P "$HOME" && pwd -P)/.ssh" ] || { echo failed odd; exit; }
    if [ -f authorized_keys ] && [ ! -L authorized_keys ] && [ -r authorized_keys ]; then
      now=$(head -c 262145 authorized_keys | sha256sum | cut -d" " -f1)
    elif [ -e authorized_keys ] || [ -L authorized_keys ]; then
      now=odd
    else
      now=-
    fi
    [ "$now" = "$old" ] || { echo failed changed-meanwhile; exit; }
    new=$(mktemp .kbmfa.XXXXXX) || fail "$@"
    if cat >"$new" && chmod 600 "$new" && [ ! -d authorized_keys ] && mv -fT "$new" authorized_keys; then
      command -v restorecon >/dev/null && restorecon authorized_keys >/dev/null 2>&1
      echo changed
    else
      fail "$@"
    fi' kbmfa "$2" "$4" 2>/dev/null | head -c 100 | head -n1 >"$work/result"
  read -r result <"$work/result" || result=
  case $result in
    changed | "failed no-home" | "failed odd" | "failed write" | "failed set-aside" | "failed changed-meanwhile") say "$result" ;;
    *) say failed home ;;
  esac
}

step_revoke() { # TOKEN: lines that are added; none is ever taken out
  is_token "$1" && decoded "$1" >"$work/new" || { say failed malformed; return; }
  make_directories || { say failed directory; return; }
  : >"$work/old"
  if [ -e "$revoked" ] || [ -L "$revoked" ]; then
    [ -f "$revoked" ] && [ ! -L "$revoked" ] || { say failed odd; return; }
    cat -- "$revoked" >"$work/old" || { say failed read; return; }
  fi
  sort -u -- "$work/old" "$work/new" >"$work/all" || { say failed write; return; }
  replace "$work/all" "$revoked" 644 || say failed write
}

step_sudo() { # NAME PROFILE TOKEN|-
  local target
  is_name "$1" && is_token "$2" && is_token "$3" || { say failed malformed; return; }
  target=$sudoers/kbmfa+$1+$2
  if [ "$3" = - ]; then
    remove "$target" || say failed remove
    return
  fi
  owned "$1" || return 0
  decoded "$3" >"$work/profile" || { say failed malformed; return; }
  is_roots_file "$policy" && grep -qxF -- "sudo $2 $(hash_of "$work/profile")" "$policy" || { say failed forbidden; return; }
  { printf '# kbmfa: profile %s\n' "$2"; sed "s/^/$1 /" "$work/profile"; } >"$work/new"
  command -v visudo >/dev/null || { say failed no-visudo; return; }
  visudo -cqf "$work/new" >/dev/null 2>&1 || { say failed sudoers-syntax; return; }
  is_roots_own "$sudoers" || { say failed directory; return; }
  replace "$work/new" "$target" 440 || say failed write
}

step_generation() { # INSTALLATION EPOCH COUNTER
  is_hex "$1" && is_counter "$2" && is_counter "$3" || { say failed malformed; return; }
  make_directories || { say failed directory; return; }
  say "$1 $2 $3" >"$work/new"
  replace "$work/new" "$state" 644 || say failed write
}

apply() {
  local word one two three four number=0
  while read -r word one two three four; do
    case $word in
      for | admin) continue ;;
    esac
    number=$((number + 1))
    case $word in
      create) result=$(step_create "$one" "$two" "$three") ;;
      adopt) result=$(step_adopt "$one" "$two") ;;
      release) result=$(step_release "$one") ;;
      enable) result=$(step_enable "$one" "$two") ;;
      disable) result=$(step_disable "$one" "$two") ;;
      end-sessions) result=$(step_end_sessions "$one") ;;
      keys) result=$(step_keys "$one" "$two") ;;
      without) result=$(step_without "$one" "$two") ;;
      home) result=$(step_home "$one" "$two" "$three" "$four") ;;
      revoke) result=$(step_revoke "$one") ;;
      sudo) result=$(step_sudo "$one" "$two" "$three") ;;
      generation) result=$(step_generation "$one" "$two" "$three") ;;
      *) result="failed unknown" ;;
    esac
    say step "$number" ${result:-failed nothing}
  done <"$work/in"
}

handle() {
  case $1 in
    look) look ;;
    survey) survey ;;
    revoked) if [ -f "$revoked" ] && [ ! -L "$revoked" ]; then say lines "$(head -c 8388608 -- "$revoked" | encoded)"; else say lines -; fi ;;
    apply) take_order "$2"; apply ;;
    *) give_up malformed ;;
  esac
}
serve
