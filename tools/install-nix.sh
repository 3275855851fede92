#!/usr/bin/env bash
# Installs a current nix into its own directory, from Debian's or Ubuntu's packages: no root, no /nix,
# no change to the system. Takes about ten seconds and 60 MB.
# usage: install-nix.sh DIR        then: PATH=DIR/bin:$PATH      (a moved DIR: run this again)
set -euo pipefail

fail() {
  echo "install-nix.sh: $1" >&2
  exit 1
}

[[ $# == 1 ]] || fail "expected one folder to install into: install-nix.sh DIR"
dir=$(realpath -m "$1")
[[ ! -e $dir || -x $dir/bin/nix-instantiate || -z $(ls -A "$dir") ]] ||
  fail "$dir holds something else than an earlier nix; name a new or empty folder"

for tool in apt-get dpkg dpkg-deb; do
  command -v "$tool" >/dev/null ||
    fail "$tool was not found: this works on Debian and Ubuntu only; install nix with your own system's packages or with nix's own installer, then run this again"
done
# shellcheck source=/dev/null
. /etc/os-release
case ${ID:-} in
debian) suite=trixie component=main keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
ubuntu) suite=${VERSION_CODENAME:-} component=universe keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg ;;
*) fail "this works on Debian and Ubuntu only, and this is ${PRETTY_NAME:-something else}; install nix with your own system's packages or with nix's own installer" ;;
esac
case $(dpkg --print-architecture) in
amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
arm64) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
*) fail "there is no nix for $(dpkg --print-architecture) here, only for amd64 and arm64" ;;
esac
# shellcheck disable=SC2016 # $(SITE) is apt-get's, not the shell's.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep --invert-match security | head -n 1) ||
  fail "apt knows no package source on this machine; add one to /etc/apt/sources.list"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/nix/bin" "$work/nix/etc"
: >"$work/status"
# A separate apt: it has one source and an empty package database, and so installs nix with every
# library it needs, whatever this machine's release is.
components=$component
[[ $component == main ]] || components="main $component"
echo "deb [signed-by=$keyring] $mirror $suite $components" >"$work/sources.list"
apt=(apt-get -qq
  -o APT::Sandbox::User= -o APT::Install-Recommends=false
  -o "Dir::State=$work" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status"
  -o "Dir::Cache=$work" -o "Dir::Cache::archives=$work/archives"
  -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::Etc::preferencesparts=/dev/null -o Acquire::Languages=none -o Debug::NoLocking=1)
"${apt[@]}" update || fail "the package list of $suite could not be fetched from the source apt uses on this machine"
"${apt[@]}" --download-only --yes install nix-bin >/dev/null || fail "nix could not be fetched from $suite"

for package in "$work"/archives/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
usr=$work/root/usr
# Files that nix does not use: documentation, Perl, rare character sets and cipher engines.
rm -rf "$work"/root/{etc,var,run} "$usr"/{share,include,sbin,libexec} \
  "$usr/lib/$triplet"/{perl*,gconv,ossl-modules,engines-3}
find "$usr/bin" -type f ! -name nix ! -name bash-static -delete
mv "$usr" "$work/nix/usr"

for tool in nix nix-build nix-store nix-instantiate nix-hash; do
  cat >"$work/nix/bin/$tool" <<WRAPPER
#!/bin/sh
export NIX_CONF_DIR=\${NIX_CONF_DIR:-$dir/etc}
# Started through its loader, nix takes the loader for its own program. The build hook is what it
# starts by that name, and 2.26 heeds this setting only here, not in nix.conf.
NIX_CONFIG="build-hook = $dir/bin/nix __build-remote
\${NIX_CONFIG:-}"
export NIX_CONFIG
exec $dir/usr/lib/$triplet/$loader --library-path $dir/usr/lib/$triplet:$dir/usr/lib/nix --argv0 $tool $dir/usr/bin/nix "\$@"
WRAPPER
  chmod +x "$work/nix/bin/$tool"
done
cat >"$work/nix/etc/nix.conf" <<'SETTINGS'
experimental-features = nix-command flakes
build-users-group =
substituters =
flake-registry =
sandbox = false
sandbox-paths = /bin /usr /lib /lib64 /etc/ssl
SETTINGS

rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
mv "$work/nix" "$dir"
version=$("$dir/bin/nix" --version | grep --only-matching '[0-9][0-9.]*$') || fail "the nix in $dir does not start"
# Older versions cannot evaluate the current nixpkgs.
printf '2.18\n%s\n' "$version" | sort --version-sort --check=quiet ||
  fail "$suite has nix $version and 2.18 or newer is needed; install nix with its own installer"
echo "nix $version is in $dir/bin"
