#!/usr/bin/env bash
# Runs the README's commands on fresh Debians: as an ordinary user, in a root of minimal packages.
# usage: test-fresh.sh [SUITE...]      default: bookworm trixie
# Needs root and debootstrap; ports 8000 to 8002 and 9000 are the demo's. The roots are kept in
# $XDG_CACHE_HOME/enginix-test-fresh (200 MB each); every case runs in a copy.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/enginix-test-fresh

fail() {
  printf 'test-fresh: %s\n' "$1" >&2
  exit 1
}

[[ $EUID == 0 ]] || fail "debootstrap and chroot need root; run it with sudo"
command -v debootstrap >/dev/null || fail "debootstrap was not found; apt install debootstrap"
if [[ -z ${IN_NAMESPACE-} ]]; then
  # Separate mount and process namespaces: both are gone afterwards, whatever happens.
  IN_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi
set -m # What is started in the background can be interrupted, as by Ctrl-C.

work=$(mktemp -d)
root=$work/root
trap 'release_root; rm -rf --one-file-system "$work"' EXIT

# Unmount first: never remove this machine's /dev.
release_root() {
  local mounted
  for mounted in "$root/proc" "$root/dev"; do
    ! mountpoint --quiet "$mounted" || umount --recursive "$mounted" || umount --lazy "$mounted"
  done
  rm -rf --one-file-system "$root"
}

say() { printf '\n== %s: %s\n' "$suite" "$1"; }

make_pristine() {
  [[ -d $cache/$suite ]] && return
  say "debootstrap"
  mkdir -p "$cache"
  rm -rf "$cache/.$suite"
  debootstrap --variant=minbase "$suite" "$cache/.$suite" >"$cache/$suite.log" 2>&1 ||
    fail "debootstrap $suite failed; its log is $cache/$suite.log"
  mv "$cache/.$suite" "$cache/$suite"
}

# A separate root with a user, this machine's network, and a clone of the last commit.
fresh_root() {
  release_root
  cp -a "$cache/$suite" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
  [[ -z ${PIP_CERT-} ]] || install -m 644 "$PIP_CERT" "$root$certificates"
  chroot "$root" useradd --create-home --shell /bin/bash somebody
  git clone --quiet --bare "$repository" "$root/srv/enginix.git"
  as_root apt-get -qq update
}

inside() { # USER COMMAND...
  chroot --userspec="$1" "$root" env --ignore-environment HOME="$2" PATH=/usr/bin:/bin:/usr/sbin:/sbin \
    LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "${passed[@]}" "${@:3}"
}
as_root() { inside root /root "$@"; }
as_user() { inside somebody /home/somebody bash -c "cd; git config --global --add safe.directory '*'; $1"; }
# What this machine's pip needs to reach its index.
certificates=/etc/test-fresh.crt
mapfile -t passed < <(env | grep -E '^(PIP_INDEX_URL|PIP_DEFAULT_TIMEOUT|https?_proxy|no_proxy)=' || true)
[[ -z ${PIP_CERT-} ]] || passed+=("PIP_CERT=$certificates")

install_packages() { as_root apt-get -qq --yes --no-install-recommends install "$@" >"$work/apt.log" 2>&1 || fail "$(tail -n 3 "$work/apt.log")"; }

expect_sentence() { # FILE WORDS: the file's own one line of ours has the words
  grep '^enginix: ' "$1" || fail "no sentence in: $(cat "$1")"
  [[ $(grep -c '^enginix: ' "$1") == 1 ]] || fail "more than one sentence"
  grep -q "^enginix: .*$2" "$1" || fail "expected: $2"
  ! grep -q Traceback "$1" || fail "a traceback: $(cat "$1")"
}

demo_fails() { # WORDS
  if as_user "cd enginix && make demo" >"$work/said" 2>&1; then fail "make demo succeeded"; fi
  expect_sentence "$work/said" "$1"
}

without_packages() {
  fresh_root
  say "make demo without Python"
  install_packages git make
  as_user "git clone --quiet /srv/enginix.git enginix"
  demo_fails 'python3 was not found'
  say "make demo with nothing but Python"
  install_packages python3
  demo_fails 'lacks'
  [[ ! -e $root/home/somebody/enginix/.venv ]] || fail "something was installed"
  say "what that sentence says to install is enough"
  mapfile -t packages < <(sed -n 's/.*apt install \([^;(]*\).*/\1/p' "$work/said" | tr ' ' '\n' | grep .)
  install_packages "${packages[@]}"
  as_user "cd enginix && python3 tools/check-machine.py .venv ~/.cache/enginix"
  echo "apt install ${packages[*]}"
}

with_readmes_packages() {
  fresh_root
  # shellcheck disable=SC2016
  mapfile -t packages < <(sed -n 's/.*`apt install \(git [^`]*\)`.*/\1/p' README.md | tr ' ' '\n')
  say "apt install ${packages[*]}"
  install_packages "${packages[@]}"
  as_user "git clone --quiet /srv/enginix.git enginix"
  say "make demo"
  as_user "cd enginix && exec make demo" >"$work/demo.log" 2>&1 &
  local demo=$!
  until grep -q '^openai ' "$work/demo.log"; do
    kill -0 "$demo" 2>/dev/null || fail "make demo ended: $(cat "$work/demo.log" "$root"/home/somebody/enginix/.venv/install.log 2>/dev/null)"
    ((SECONDS < 900)) || fail "make demo did not answer: $(cat "$work/demo.log")"
    sleep 1
  done
  cat "$work/demo.log"
  say "a chat"
  local body='{"model": "demo", "temperature": 0, "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
  curl --silent --show-error --json "$body" http://127.0.0.1:9000/v1/chat/completions | tee "$work/chat"
  grep -q Paris "$work/chat" || fail "the answer does not name Paris"
  say "the same again while it runs"
  demo_fails 'port'
  say "Ctrl-C"
  kill -INT -- "-$demo"
  wait "$demo" || true
  tail -n 2 "$work/demo.log"
  nothing_is_left
  say "make demo where the user cannot write /dev/shm"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev/shm"
  demo_fails 'shm'
  umount "$root/dev/shm"
}

nothing_is_left() {
  ! pgrep -a -u "$(chroot "$root" id -u somebody)" || fail "these are left running"
  [[ -z $(ls "$root/dev/shm") ]] || fail "left in shared memory: $(ls "$root/dev/shm")"
  [[ -z $(find "$root/tmp" -name 'enginix*') ]] || fail "left in /tmp: $(ls "$root/tmp")"
  echo "no process, no shared memory, nothing in /tmp"
}

[[ $# -gt 0 ]] || set -- bookworm trixie
for suite in "$@"; do
  make_pristine
  without_packages
  with_readmes_packages
done
echo
echo "test-fresh: all as the README says"
