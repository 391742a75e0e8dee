#!/bin/sh
# The first process of a machine: mounts its root, then becomes its sshd. Runs in namespaces of its own, so that all
# of this ends with it. Usage: machine.sh DIR LOWER KBMFA_HOST LAYER...
# DIR has mnt/ (empty), syslog (a socket) and before-sshd (lines to run in the machine first). KBMFA_UNDER has words to put
# before sshd, or none. The layers are copied on top of LOWER, which stays as it is.
set -eu
umask 022
dir=$1 lower=$2 host=$3
shift 3

mount -t tmpfs -o mode=755,size=512m kbmfa "$dir/mnt"
cd "$dir/mnt"
mkdir upper work root
for layer in "$@"; do cp -dR --preserve=mode,ownership "$layer/." upper; done
mount -t overlay kbmfa -o "lowerdir=$lower,upperdir=upper,workdir=work" root
cd root
rm -rf etc/kbmfa # the host's own, if it has one

mount -t proc proc proc
mount -t tmpfs -o mode=755 run run
mkdir run/sshd
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
touch dev/log
mount --bind "$dir/syslog" dev/log
if [ "$host" != none ]; then
  touch usr/bin/kbmfa-host
  # The very file that was built, which every machine shares: none may change it.
  mount -o bind,ro "$host" usr/bin/kbmfa-host
fi

hostname "$(cat etc/hostname)"
under=$KBMFA_UNDER
unset KBMFA_UNDER
exec chroot . sh -c "$(cat "$dir/before-sshd")
exec $under /usr/sbin/sshd -D -e"
