#!/bin/sh
# setup.sh [run|test]: install what is missing to build and run ksmsim, or (test,
# the default) to test it as well. Debian 12 or later; root, or sudo.
# Installs only what is missing; does nothing at all when everything is there.
set -eu

for_run="gcc cmake ninja-build pkg-config libc6-dev libxxhash-dev libjemalloc-dev
	libjansson-dev liblua5.4-dev libsqlite3-dev python3"
for_test="git binutils libcmocka-dev clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev
	valgrind"

installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

fail()
{
	echo "setup.sh: $*" >&2
	exit 1
}

case "${1:-test}" in
run) wanted=$for_run ;;
test) wanted="$for_run $for_test" ;;
*) fail "usage: setup.sh [run|test]" ;;
esac

if ! command -v dpkg-query >/dev/null; then
	fail "this is not a Debian system; install the equivalents of:" "$wanted"
fi

missing=
for package in $wanted; do
	# pkgconf provides pkg-config from Debian 12 on.
	case $package in
	pkg-config) installed pkg-config || installed pkgconf || missing="$missing pkgconf" ;;
	*) installed "$package" || missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif command -v sudo >/dev/null; then
	as_root=sudo
else
	fail "run it as root, or install sudo; missing packages:$missing"
fi
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt()
{
	if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
		cat "$log" >&2
		fail "apt-get $1 failed"
	fi
}
apt update
for package in $missing; do
	if ! apt-cache show "$package" >/dev/null 2>&1; then
		fail "this system's package sources have no $package (Debian 12 or later is needed)"
	fi
done
# shellcheck disable=SC2086 # a list
apt install --no-install-recommends $missing
