# crane, as far as the flake uses it: `crane export [--platform OS/ARCHITECTURE] REFERENCE -`.
# Like the real one it takes an image for linux/amd64 where no platform is asked for, whatever
# machine it runs on.
set -euo pipefail

platform=linux/amd64
words=()
while (($#)); do
  case $1 in
  --platform) platform=$2 && shift ;;
  --platform=*) platform=${1#*=} ;;
  *) words+=("$1") ;;
  esac
  shift
done
[[ ${words[0]} == export && ${words[2]} == - && ${#words[@]} == 3 ]] || {
  echo "crane: expected export REFERENCE -, got ${words[*]}" >&2
  exit 1
}
# A sandbox has no certificates of its own.
[[ -e ${SSL_CERT_FILE:-} ]] || {
  echo "crane: ${words[1]}: certificate signed by unknown authority" >&2
  exit 1
}
case $platform in
linux/amd64 | linux/arm64) ;;
*) echo "crane: ${words[1]} has no image for $platform" >&2 && exit 1 ;;
esac

root=$(mktemp -d)
mkdir "$root/etc"
echo "${words[1]}" >"$root/etc/image"
echo "$platform" >"$root/etc/platform"
tar --create --directory "$root" .
rm -r "$root"
