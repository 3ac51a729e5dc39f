#!/bin/sh
# A bounded lockstep with the running kernel: some scenarios, some random ones.
#
#	tests/lockstep.sh PROGRAM [RANDOM-RUNS]
#
# Exit status 77: there is no root, no KSM, or somebody else uses it; the reason is printed.
set -u
program=$1
runs=${2:-10}
source=$(cd "$(dirname "$0")/.." && pwd)
cd "$source" || exit 2
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT

verify() {
	timeout --kill-after=20 80 "$program" verify --quiet --out "$out" "$@" >"$out/log" 2>&1
	status=$?
	cat "$out/log"
	case $status in
	0) ;;
	1) cat "$out"/*.ksm 2>/dev/null; exit 1 ;;
	2) grep -q "cannot be used\|refused" "$out/log" && exit 77; exit 2 ;;
	124) echo "the kernel is busy with another run, or too slow for this test"; exit 77 ;;
	*) exit "$status" ;;
	esac
}

verify tests/replay/800[1-9]*.ksm tests/replay/805*.ksm tests/replay/8[23][0-4]5*.ksm \
	tests/replay/r*.ksm
verify --random 1 --runs "$runs" --ops 100 --tries 100
