#!/bin/sh
# run.sh [SCENARIO [OPTION...]]: set up, build, and run a scenario
# (default: sim/scenarios/two-guests.ksm). Works from any directory.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
"$source/setup.sh" run

log=$(mktemp)
trap 'rm -f "$log"' EXIT
build()
{
	cmake --preset release -S "$source" -B "$source/build/run" \
		-DBUILD_TESTING=OFF -DKSMSIM_BENCH=OFF -DKSMSIM_EXAMPLES=OFF >"$log" 2>&1 || return 1
	if [ -t 1 ]; then
		cmake --build "$source/build/run"
	else
		cmake --build "$source/build/run" -- --quiet >"$log" 2>&1
	fi
}
if ! build; then
	cat "$log" >&2
	echo "run.sh: the build failed" >&2
	exit 1
fi

[ $# -gt 0 ] || set -- "$source/sim/scenarios/two-guests.ksm"
rm -f "$log"
exec "$source/build/run/ksmsim" run "$@"
