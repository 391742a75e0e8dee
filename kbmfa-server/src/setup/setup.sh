# kbmfa sets a machine up: reports what is there, and carries out single steps, each of which may be repeated.
#
# Before it makes something it writes that down in /etc/ssh/kbmfa/installed, so that it can be taken out again:
#   dir PATH            a directory that it made
#   account NAME        an account that it made
#   file PATH SHA256    a file that it wrote, and the hash of what it wrote
#   line PATH SHA256|-  a file of the operator's that got a line of ours, and the hash of the file before
# What is listed may be absent: a run was interrupted, or sshd was put back.
#
# Before it changes what sshd reads it arms an undo: /etc/ssh/kbmfa/undo holds the files as they were, and `run`, which puts
# them back. A timer of the machine starts it, unless "confirm" comes first.

base=/etc/ssh/kbmfa
installed=$base/installed undo=$base/undo undoing=$base/undoing signers=$base/signers
config=/etc/ssh/sshd_config dropins=/etc/ssh/sshd_config.d
dropin=$dropins/00-kbmfa-keys.conf
libexec=/usr/local/libexec
# The last rule that fits wins, so this file is read last.
rule=$sudoers/zz-kbmfa
admin=ssh-admin source=127.0.0.1
# The operator is asked, and a second connection tried, while the conversation is open.
longest=900

# ---- the report

report_system() {
  local id like
  id=$(sed -n 's/^ID=//p' /etc/os-release | tr -cd 'a-z0-9._-' | head -c 40)
  like=$(sed -n 's/^ID_LIKE=//p' /etc/os-release | tr ' ' , | tr -cd 'a-z0-9.,_-' | head -c 80)
  say system "${id:--}" "${like:--}"
  for tool in sshd sudo visudo useradd usermod chpasswd getent timeout setsid awk; do
    command -v "$tool" >/dev/null || say missing "$tool"
  done
  command -v setpriv >/dev/null || command -v runuser >/dev/null || say missing setpriv
}

# sshd's opinion of its configuration. Where it starts for each connection, its directory may not be there yet.
check_config() { # check_config [FILE]
  local out
  out=$("$sshd" -t ${1+-f "$1"} 2>&1) && return 0
  case $out in
    *"Missing privilege separation directory: /run/sshd"*)
      mkdir -p -m 755 /run/sshd
      out=$("$sshd" -t ${1+-f "$1"} 2>&1) && return 0
      ;;
  esac
  printf '%s' "$out" | head -c 2000
  return 1
}

effective() { # effective NAME: the value that sshd has for ssh-admin
  "$sshd" -T -C "user=$admin,host=$source,addr=$source" | sed -n "s/^$1 //p" | head -n1
}

# True if sshd reads our file before any line that would win over it.
has_include() {
  awk -v all="$dropins/*.conf" -v ours="$dropin" '
    { gsub(/["=]/, " "); word = tolower($1) }
    word == "match" || word == "authorizedkeysfile" || word == "revokedkeys" { exit }
    word == "include" {
      for (i = 2; i <= NF; i++) if ($i == all || $i == ours || "/etc/ssh/" $i == all) { found = 1; exit }
    }
    END { exit !found }' "$config"
}

report_sshd() {
  local out name
  sshd=$(command -v sshd) || return
  say sshd "$("$sshd" -V 2>&1 </dev/null | sed -n 's/.*\(OpenSSH_[0-9A-Za-z.]*\).*/\1/p' | head -n1 | grep . || echo -)"
  if [ ! -f "$config" ] || [ -L "$config" ]; then say config odd; return; fi
  if out=$(check_config); then
    say config ok
    for name in authorizedkeysfile revokedkeys pubkeyauthentication; do
      say value "$name" "$(effective "$name" | tr -d '\n' | encoded)"
    done
  else
    say config broken "$(printf '%s' "$out" | encoded)"
  fi
  if has_include; then say include yes; else say include no; fi
  say reload "$(how_to_reload)"
}

how_to_reload() {
  local unit pid=$$ found=
  if [ -d /run/systemd/system ]; then
    for unit in ssh.service sshd.service ssh.socket sshd.socket; do
      systemctl is-active --quiet "$unit" && { say "$unit"; return; }
    done
  fi
  # The sshd that listens is the first one above this process.
  while is_number "$pid" && [ "$pid" -gt 0 ]; do
    [ "$(cat "/proc/$pid/comm")" = sshd ] && found=$pid
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
  done
  if [ -n "$found" ]; then say "process:$found"; else say none; fi
}

report_account() {
  local password=locked group
  if ! account "$admin"; then say account absent; return; fi
  case $(getent shadow -- "$admin" | cut -d: -f2) in
    '!'* | '*'*) ;;
    '') password=empty ;;
    *) password=set ;;
  esac
  say account "$uid" "$(printf '%s' "$shell" | encoded)" "$password"
  for group in sudo wheel admin; do
    is_member "$group" "$admin" && say other-sudo "the group $group"
  done
  for file in /etc/sudoers "$sudoers"/*; do
    [ "$file" != "$rule" ] && grep -q "^[[:space:]]*$admin[[:space:]]" "$file" && say other-sudo "$file"
  done
}

place_of() { # place_of WORD: sets target and mode
  case $1 in
    key) target=$keys/$admin mode=644 ;;
    revoked) target=$revoked mode=644 ;;
    policy) target=$policy mode=644 ;;
    signers) target=$signers mode=644 ;;
    helper) target=$libexec/kbmfa-helper mode=755 ;;
    rule) target=$rule mode=440 ;;
    dropin) target=$dropin mode=644 ;;
    *) return 1 ;;
  esac
}

report_files() {
  local word
  for word in key revoked policy signers helper rule dropin; do
    place_of "$word"
    if [ -f "$target" ] && [ ! -L "$target" ] && [ "$(stat -c %u -- "$target")" = 0 ]; then
      say file "$word" "$(hash_of "$target")"
    elif [ -e "$target" ] || [ -L "$target" ]; then
      say file "$word" odd
    else
      say file "$word" -
    fi
  done
  if [ -f "$policy" ] && [ ! -L "$policy" ]; then say policy "$(head -c 65536 -- "$policy" | encoded)"; else say policy -; fi
  if [ -d "$keys" ]; then say directories yes; else say directories no; fi
  if grep -Eq '^[#@]includedir[[:space:]]+"?/etc/sudoers\.d"?[[:space:]]*$' /etc/sudoers; then say rules yes; else say rules no; fi
  if [ -d "$undoing" ] || [ -d "$undo" ]; then say undo armed; else say undo none; fi
}

report_home_key() { # report_home_key TOKEN
  account "$admin" && decoded "$1" >"$work/line" || { say home-key no; return; }
  as_user "$admin" sh -c 'cd -P -- "$HOME" && head -c 262144 .ssh/authorized_keys' </dev/null >"$work/home"
  if grep -qxF -f "$work/line" "$work/home"; then say home-key yes; else say home-key no; fi
}

probe() {
  local line
  read -r admin source line <"$work/in" || give_up malformed
  is_name "$admin" && is_address "$source" && is_token "$line" || give_up malformed
  report_system
  report_sshd
  report_account
  report_files
  report_home_key "$line"
}

is_address() {
  case $1 in
    "" | *[!0-9a-fA-F.:]*) return 1 ;;
  esac
}

# ---- steps: each prints "ok", "changed" or "failed REASON [TOKEN]"

record() { # record KIND PATH [VALUE]
  : >"$work/records"
  if [ -f "$installed" ]; then cat -- "$installed" >"$work/before" || return 1; else : >"$work/before"; fi
  if [ "$1" = file ]; then
    awk -v path="$2" '!($1 == "file" && $2 == path)' "$work/before" >"$work/records" || return 1
  else
    cat -- "$work/before" >"$work/records" || return 1
    awk -v kind="$1" -v path="$2" '$1 == kind && $2 == path { found = 1 } END { exit !found }' "$work/before" && return 0
  fi
  say "$@" >>"$work/records" || return 1
  replace "$work/records" "$installed" 644 >/dev/null
}

step_directories() {
  local made=ok path
  for path in /etc/ssh "$base" "$keys"; do
    [ -d "$path" ] || { mkdir -m 755 -- "$path" || { say failed directory; return; }; made=changed; }
  done
  is_roots_own "$keys" || { say failed directory; return; }
  record dir "$base" && record dir "$keys" || { say failed write; return; }
  say "$made"
}

step_account() {
  local code=0
  account "$admin" && { say ok; return; }
  if getent group -- "$admin" >/dev/null; then say failed group-taken; return; fi
  # The group of the account would have what sudoers grants to a group of this name.
  if cat /etc/sudoers "$sudoers"/* | grep -q "^[[:space:]]*%$admin[[:space:]]"; then say failed group-in-sudoers; return; fi
  if [ -e "/home/$admin" ] || [ -L "/home/$admin" ]; then say failed home-exists; return; fi
  record account "$admin" || { say failed write; return; }
  # A uid below 1000, because those from there on are the employees'. With "*" instead of "!" sshd lets a key in also where
  # it does not use PAM.
  useradd -r -m -U -d "/home/$admin" -s /bin/sh -p '*' -- "$admin" </dev/null >"$work/out" 2>&1 || code=$?
  case $code in
    0) say changed ;;
    *) say failed "useradd-$code" "$(head -c 500 "$work/out" | encoded)" ;;
  esac
}

step_write() { # WORD TOKEN
  is_token "${2:-}" && place_of "$1" && decoded "$2" >"$work/new" || { say failed malformed; return; }
  local out
  case $1 in
    revoked) [ ! -e "$revoked" ] || { say ok; return; } ;;
    helper)
      [ -d "$libexec" ] || { mkdir -m 755 -- "$libexec" && record dir "$libexec"; } || { say failed write; return; }
      ;;
    rule)
      visudo -cqf "$work/new" >/dev/null 2>&1 || { say failed sudoers-syntax; return; }
      ;;
    dropin)
      [ -d "$undo" ] || { say failed not-armed; return; }
      [ -d "$dropins" ] || { mkdir -m 755 -- "$dropins" && record dir "$dropins"; } || { say failed write; return; }
      { printf 'Include %s\n' "$work/new"; cat -- "$config"; } >"$work/candidate"
      out=$(check_config "$work/candidate") || { say failed config "$(printf '%s' "$out" | encoded)"; return; }
      ;;
  esac
  is_roots_own "${target%/*}" || { say failed directory; return; }
  record file "$target" "$(hash_of "$work/new")" || { say failed write; return; }
  out=$(replace "$work/new" "$target" "$mode") || { say failed write; return; }
  # A fault anywhere in sudoers would take sudo from everybody.
  if [ "$1" = rule ] && ! visudo -cq >/dev/null 2>&1; then rm -f -- "$rule"; out="failed sudoers-syntax"; fi
  say "$out"
}

step_home_key() { # TOKEN: the line becomes the only one with this key in ssh-admin's own file
  is_token "$1" && decoded "$1" >"$work/line" && account "$admin" || { say failed malformed; return; }
  local file=$home/.ssh/authorized_keys before=-
  as_user "$admin" cat "$file" </dev/null >"$work/home" && before=$(hash_of "$work/home")
  record line "$file" "$before" || { say failed write; return; }
  cat -- "$work/line" | as_user "$admin" sh -c '
    umask 077
    cd -P -- "$HOME" || { echo failed no-home; exit; }
    [ ! -L .ssh ] || { echo failed odd; exit; }
    [ -d .ssh ] || mkdir -m 700 .ssh || { echo failed write; exit; }
    cd -P .ssh || { echo failed odd; exit; }
    [ ! -L authorized_keys ] && [ ! -d authorized_keys ] || { echo failed odd; exit; }
    read -r line
    key=${line##*ssh-ed25519 } key=${key%% *}
    new=$(mktemp .kbmfa.XXXXXX) || { echo failed write; exit; }
    if { [ ! -f authorized_keys ] || awk -v key="$key" "index(\$0, key) == 0" authorized_keys; } >"$new" &&
      printf "%s\n" "$line" >>"$new" && chmod 600 "$new" && mv -fT "$new" authorized_keys; then
      command -v restorecon >/dev/null && restorecon authorized_keys >/dev/null 2>&1
      echo changed
    else
      rm -f "$new"
      echo failed write
    fi' 2>/dev/null | head -n1 >"$work/result"
  read -r result <"$work/result" || result=
  case $result in
    changed | "failed no-home" | "failed odd" | "failed write") say "$result" ;;
    *) say failed home ;;
  esac
}

step_password() { # TOKEN
  is_token "$1" || { say failed malformed; return; }
  { printf '%s:' "$admin"; decoded "$1"; echo; } | chpasswd >/dev/null 2>&1 && say changed || say failed chpasswd
}

# Saves what sshd reads, and has the machine put it back after SECONDS.
step_arm() { # SECONDS
  is_number "$1" && [ ! -e "$undo" ] && [ ! -e "$undoing" ] || { say failed armed; return; }
  local new=$base/undo.new nonce
  rm -rf -- "$new"
  nonce=$(tr -cd 0-9a-f </proc/sys/kernel/random/uuid)
  mkdir -m 700 -- "$new" && say "$nonce" >"$new/nonce" && undo_program >"$new/run" && [ -s "$new/run" ] &&
    cp -p -- "$installed" "$new/installed" && how_to_reload >"$new/reload" || { say failed write; return; }
  if [ -e "$dropin" ]; then cp -p -- "$dropin" "$new/dropin" || { say failed write; return; }; fi
  sync -- "$new"/* "$new" && mv -T -- "$new" "$undo" || { say failed write; return; }
  if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null &&
    systemd-run --quiet --on-active="$1" --timer-property=AccuracySec=1s /bin/sh "$undo/run" "$nonce" 9>&- >/dev/null 2>&1; then
    say changed
    return
  fi
  setsid sh -c 'sleep "$1"; exec sh /etc/ssh/kbmfa/undo/run "$2"' kbmfa "$1" "$nonce" 9>&- </dev/null >/dev/null 2>&1 &
  say changed
}

undo_program() {
  cat <<'END'
# Puts back what sshd reads, because a change of it was not confirmed. Usage: run NONCE|now|reload
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
base=/etc/ssh/kbmfa config=/etc/ssh/sshd_config dropin=/etc/ssh/sshd_config.d/00-kbmfa-keys.conf
sshd=$(command -v sshd) || exit 1

reload() { # reload DIRECTORY
  read -r how <"$1/reload" || return 1
  case $how in
    *.service) systemctl reload "$how" ;;
    # sshd starts for each connection, and reads its files then.
    *.socket) true ;;
    process:*) [ "$(cat "/proc/${how#process:}/comm")" = sshd ] && kill -HUP "${how#process:}" ;;
    *) false ;;
  esac
}

put_back() { # put_back SAVED TARGET
  cp -p -- "$1" "$2.kbmfa" && mv -fT -- "$2.kbmfa" "$2" || exit 1
  command -v restorecon >/dev/null && restorecon -- "$2"
}

if [ "$1" = reload ]; then
  reload "$base/undo"
  exit
fi
if [ ! -d "$base/undoing" ]; then
  [ "$1" = now ] || [ "$(cat "$base/undo/nonce")" = "$1" ] || exit 0
  mv -T -- "$base/undo" "$base/undoing" || exit 1
fi
if [ -f "$base/undoing/sshd_config" ]; then put_back "$base/undoing/sshd_config" "$config"; fi
if [ -f "$base/undoing/dropin" ]; then put_back "$base/undoing/dropin" "$dropin"; else rm -f -- "$dropin" || exit 1; fi
put_back "$base/undoing/installed" "$base/installed"
"$sshd" -t && reload "$base/undoing"
rm -rf -- "$base/undoing"
END
}

step_include() {
  [ -d "$undo" ] && [ -f "$config" ] && [ ! -L "$config" ] || { say failed not-armed; return; }
  has_include && { say ok; return; }
  cp -p -- "$config" "$undo/sshd_config.new" && mv -fT -- "$undo/sshd_config.new" "$undo/sshd_config" &&
    record line "$config" "$(hash_of "$config")" || { say failed write; return; }
  { printf 'Include %s\n' "$dropin" && cat -- "$config"; } >"$work/new" || { say failed write; return; }
  replace "$work/new" "$config" "$(stat -c %a -- "$config")" || say failed write
}

step_reload() {
  local out wanted
  [ -d "$undo" ] || { say failed not-armed; return; }
  out=$(check_config) || { say failed config "$(printf '%s' "$out" | encoded)"; return; }
  wanted=$(sed -n 's/^AuthorizedKeysFile //p' "$dropin")
  out=$(effective authorizedkeysfile)
  [ -z "$wanted" ] || [ "$out" = "$wanted" ] ||
    { say failed not-effective "$(printf 'AuthorizedKeysFile %s' "$out" | encoded)"; return; }
  out=$(effective revokedkeys)
  [ "$out" = "$revoked" ] || { say failed not-effective "$(printf 'RevokedKeys %s' "$out" | encoded)"; return; }
  sh "$undo/run" reload >/dev/null 2>&1 && say changed || say failed reload
}

step_undo() {
  if [ -f "$undoing/run" ]; then
    sh "$undoing/run" now
  elif [ -f "$undo/run" ]; then
    sh "$undo/run" now
  else
    rm -rf -- "$undoing" "$undo"
  fi >/dev/null 2>&1
  if [ -e "$undo" ] || [ -e "$undoing" ]; then say failed undo; else say changed; fi
}

step_confirm() {
  rm -rf -- "$base/confirmed"
  mv -T -- "$undo" "$base/confirmed" || { say failed too-late; return; }
  rm -rf -- "$base/confirmed"
  say changed
}

step() {
  local word one two
  read -r admin source word one two <"$work/in" || give_up malformed
  is_name "$admin" && is_address "$source" || give_up malformed
  sshd=$(command -v sshd) || give_up no-sshd
  case $word in
    directories) result=$(step_directories) ;;
    account) result=$(step_account) ;;
    write) result=$(step_write "$one" "$two") ;;
    home-key) result=$(step_home_key "$one") ;;
    password) result=$(step_password "$one") ;;
    arm) result=$(step_arm "$one") ;;
    include) result=$(step_include) ;;
    reload) result=$(step_reload) ;;
    undo) result=$(step_undo) ;;
    confirm) result=$(step_confirm) ;;
    *) give_up malformed ;;
  esac
  say result ${result:-failed nothing}
}

handle() {
  case $1 in
    probe) probe ;;
    step) step ;;
    # The second connection needs the lock.
    release) flock -u 9 ;;
    *) give_up malformed ;;
  esac
}

case $(readlink -f /bin/sh) in
  *busybox*) give_up "this system has busybox instead of GNU tools (such as Alpine), which is not supported" ;;
esac
for tool in flock base64 sha256sum stat mktemp; do
  command -v "$tool" >/dev/null || give_up "the program $tool is missing"
done
serve
