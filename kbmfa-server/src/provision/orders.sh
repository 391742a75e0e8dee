# Orders: the requests that change something on this machine, and who may give them.
#
# The body of each begins with the line
#   for INSTALLATION EPOCH COUNTER MACHINE-ID NOT-AFTER
# Where /etc/ssh/kbmfa/signers exists, one of the keys in it must have signed the whole body. Then an account that can start
# this program, and nothing more, changes nothing: it can make no order, and none that it got hold of is taken if it is
# edited, for another machine, or not later than the last one.

signers=/etc/ssh/kbmfa/signers
# How long an order is valid (600 s), and as much for a clock that is behind.
validity=1200

machine_id() { head -c 64 /etc/machine-id | tr -cd '0-9a-f'; }

# True for a file that root alone can write, also by its directory.
is_roots_file() { # is_roots_file PATH
  is_roots_own "${1%/*}" && [ -f "$1" ] && [ ! -L "$1" ] || return 1
  case $(stat -c '%u %a' -- "$1") in
    "0 "*[2367]? | "0 "*[2367]) return 1 ;;
    "0 "*) ;;
    *) return 1 ;;
  esac
}

# What demands signatures here: "-" for nothing, "odd" for something that is no sound file, or the file's SHA-256.
signers_found() {
  if [ ! -e "$signers" ] && [ ! -L "$signers" ]; then
    say -
  elif is_roots_file "$signers"; then
    hash_of "$signers"
  else
    say odd
  fi
}

# Sets installation, epoch and counter; fails if the record is damaged.
read_state() {
  installation= epoch= counter=
  [ -f "$state" ] && [ ! -L "$state" ] && read -r installation epoch counter <"$state" || return 1
  is_hex "$installation" && is_counter "$epoch" && is_counter "$counter"
}

# True if the order is later than everything that this machine was told, and from the same installation.
is_later() { # is_later INSTALLATION EPOCH COUNTER
  local installation epoch counter
  [ -e "$state" ] || [ -L "$state" ] || return 0
  read_state || return 1
  [ "$installation" = "$1" ] || return 1
  [ "$2" -gt "$epoch" ] || { [ "$2" -eq "$epoch" ] && [ "$3" -gt "$counter" ]; }
}

# Ends the program unless the order in $work/in may be carried out, and sets admin. The order's number is taken before
# anything is done, so that it counts once.
take_order() { # take_order SIGNATURE
  local word installation epoch counter host not_after rest now
  { read -r word installation epoch counter host not_after rest && read -r rest admin; } <"$work/in" || give_up malformed
  [ "$word" = for ] && is_hex "$installation" && is_counter "$epoch" && is_counter "$counter" && is_hex "$host" &&
    is_number "$not_after" && [ "$rest" = admin ] && is_name "$admin" || give_up malformed
  case $(signers_found) in
    -) ;;
    odd) give_up signers ;;
    *)
      is_token "$1" || give_up unsigned
      is_signed "$1" || give_up signature
      now=$(date +%s)
      [ "$now" -le "$not_after" ] && [ $((not_after - now)) -le "$validity" ] || give_up clock
      ;;
  esac
  [ "$host" = "$(machine_id)" ] || give_up other-machine
  # sudo tells who started this program. Nobody else's order may call that account an ordinary one.
  [ "$admin" = "${SUDO_USER:-$admin}" ] || [ "$SUDO_USER" = root ] || give_up other-account
  is_later "$installation" "$epoch" "$counter" || give_up older
  # On a full disk an order that takes away has to go on; the step that records the number names the failure.
  step_generation "$installation" "$epoch" "$counter" >/dev/null
}

is_signed() { # is_signed SIGNATURE: in base64, the armored signature over $work/in
  command -v ssh-keygen >/dev/null || give_up no-verifier
  decoded "$1" >"$work/signature" &&
    ssh-keygen -Y verify -f "$signers" -I kbmfa-roster -n kbmfa-order -s "$work/signature" <"$work/in" >/dev/null
}
