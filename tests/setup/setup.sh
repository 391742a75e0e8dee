#!/bin/bash
# Makes a Debian 12 host ready to build and test kbmfa: packages, OpenSSH 9.2's sshd, sudo and PostgreSQL (unpacked, never
# installed) and a Debian 13 root with OpenSSH 10. All but the packages lies in .cache. Again is harmless and quick.
# Usage: setup.sh [matrix] [sanitize]; `matrix` makes a Debian 14 root as well, `sanitize` installs valgrind.
# KBMFA_NO_TRIXIE=1 leaves the Debian 13 root out.
set -euo pipefail

cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache
rust_needed=1.89

packages=(
  gcc libc6-dev libpam0g-dev        # to link the module, and a clock of the tests
  openssh-client rsync              # the other end of the tests
  libpam-wrapper pamtester          # the module without root
  locales                           # other languages, for the callers of the module
  procps                            # pgrep, pkill
  libwrap0                          # a library that sshd needs
  iproute2 nftables                 # networks of a test's own, where packets get lost
  python3                           # an auditor's own program, from docs/audit.md
  strace                            # system calls that fail on purpose
  ansible-core python3-paramiko     # clients with times of their own
  libssl-dev pkg-config             # libcrypto, for libssh2 in the server
  libpq5 libxml2                    # libraries of PostgreSQL's server
  debian-archive-keyring mmdebstrap # to make the Debian 13 root
)

main() {
  trap clean_up EXIT
  local wish matrix=
  for wish in "$@"; do
    case $wish in
      matrix) matrix=1 ;;
      sanitize) packages+=(valgrind) ;;
      *) fail "usage: setup.sh [matrix] [sanitize]" ;;
    esac
  done
  check_host
  check_rust
  install_packages
  unpack sshd-9.2 usr/sbin/sshd openssh-server openssh-sftp-server
  unpack sudo-1.9 usr/bin/sudo sudo
  unpack postgresql-15 usr/lib/postgresql/15/bin/postgres postgresql-15
  unpack_fail2ban
  if [ -z "${KBMFA_NO_TRIXIE:-}" ]; then make_root trixie "Debian 13"; fi
  if [ -n "$matrix" ]; then make_root forky "Debian 14"; fi
}

check_host() {
  local version=unknown
  if [ -r /etc/os-release ]; then version=$(. /etc/os-release && echo "${ID:-}${VERSION_ID:-}"); fi
  if [ "$version" != debian12 ]; then fail "make setup knows Debian 12 only; this is $version"; fi
}

check_rust() {
  local found
  found=$(rustc --version 2>/dev/null | cut -d' ' -f2) || found=
  if [ -n "$found" ] && at_least "$rust_needed" "$found"; then return; fi
  fail "Rust $rust_needed or newer is needed (found: ${found:-none}; Debian's own rustc is too old). Install it with
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt,clippy
and open a new shell, or run: . \"\$HOME/.cargo/env\""
}

at_least() { # at_least WANTED FOUND
  [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    if ! installed "$package"; then missing+=("$package"); fi
  done
  if [ ${#missing[@]} = 0 ]; then return; fi
  say "installing ${missing[*]}"
  with_retries apt_install "${missing[@]}"
  if [[ " ${missing[*]} " == *" rsync "* ]]; then no_rsync_daemon; fi
}

installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_install() { apt install --no-install-recommends "$@"; }

# Some hosts delete downloaded packages between two runs of dpkg, which leaves the second run without its files;
# others have no package list yet, or one that is out of date. Both are mended and tried again.
with_retries() {
  local attempt
  for attempt in 1 2 3; do
    if "$@"; then return; fi
    say "try $attempt failed; refreshing the package list and mending"
    apt update || true
    apt --fix-broken install || true
  done
  fail "apt-get failed: $*"
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes -o DPkg::Lock::Timeout=300 "$@"
}

# Debian enables rsync's daemon when it installs the package, though without a configuration it does not run.
no_rsync_daemon() {
  if [ -d /run/systemd/system ]; then as_root systemctl --quiet disable --now rsync.service || true; fi
}

# unpack NAME PROGRAM PACKAGE..: only usr/ is kept, for a package's lib/ is a directory and would hide the host's link
# of that name.
unpack() {
  local target=$cache/$1 draft=$cache/$1.$$ program=$2
  shift 2
  if [ -x "$target/$program" ]; then return; fi
  say "unpacking $* into $target"
  mkdir -p "$draft/debs" "$draft/all" "$draft/root"
  (cd "$draft/debs" && with_retries download "$@")
  for deb in "$draft"/debs/*.deb; do as_root dpkg-deb --extract "$deb" "$draft/all"; done
  as_root mv "$draft/all/usr" "$draft/root/usr"
  if LD_LIBRARY_PATH=$draft/root/usr/libexec/sudo ldd "$draft/root/$program" | grep 'not found'; then
    fail "$program lacks the libraries above"
  fi
  as_root rm -rf "$target" "$draft/all"
  mv "$draft/root" "$target"
  rm -rf "$draft"
}

# fail2ban's filter of sshd's log, to be tried on one. Its daemon is neither installed nor started.
unpack_fail2ban() {
  local target=$cache/fail2ban draft=$cache/fail2ban.$$
  if [ -x "$target/usr/bin/fail2ban-regex" ]; then return; fi
  say "unpacking fail2ban into $target"
  mkdir -p "$draft/debs"
  (cd "$draft/debs" && with_retries download fail2ban)
  as_root dpkg-deb --extract "$draft"/debs/*.deb "$draft/root"
  as_root rm -rf "$target"
  mv "$draft/root" "$target"
  rm -rf "$draft"
}

download() { apt-get --quiet -o APT::Sandbox::User=root download "$@"; }

# A mirror may carry a list of packages that is past its date; its signature is checked all the same.
make_root() { # make_root SUITE NAME
  local target=$cache/roots/$1 draft=$cache/roots/$1.$$
  if [ -x "$target/usr/sbin/sshd" ]; then return; fi
  say "making a $2 root in $target"
  mkdir -p "$cache/roots"
  as_root mmdebstrap --quiet --variant=minbase --mode=root --include=openssh-server \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$1" "$draft"
  as_root rm -rf "$target"
  as_root mv "$draft" "$target"
}

# Drafts of a set-up that did not get to its end.
clean_up() {
  local draft
  for draft in "$cache/sshd-9.2.$$" "$cache/sudo-1.9.$$" "$cache/fail2ban.$$" "$cache"/roots/{trixie,forky}.$$; do
    if [ -e "$draft" ]; then as_root rm -rf --one-file-system "$draft"; fi
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

say() { echo "setup: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

main "$@"
