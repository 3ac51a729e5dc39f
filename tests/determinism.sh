#!/bin/bash
# determinism.sh PROGRAM...: the same scenario gives the same bytes whatever
# compiler and optimisation level built the program.
#
# Runs every shipped scenario as every profile with each PROGRAM and compares
# the sha256 of what `run --json` prints, and the exit status. A scenario whose
# expectations fail as one profile must fail everywhere in the same way.
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
cd "$source" || exit 2

if [ $# -lt 2 ]; then
	echo "usage: determinism.sh PROGRAM PROGRAM..." >&2
	exit 2
fi

mapfile -t profiles < <(sed -n 's/^PROFILE([^,]*, *"\([^"]*\)".*/\1/p' include/ksmsim/profiles.def)
shopt -s nullglob
scenarios=(sim/scenarios/*.ksm sim/scenarios/*.lua tests/replay/*.ksm tests/replay/*.lua)
if [ ${#scenarios[@]} -eq 0 ] || [ ${#profiles[@]} -eq 0 ]; then
	echo "determinism: no scenario or no profile found" >&2
	exit 2
fi

# Prints "sha256 status" of one run.
fingerprint()
{
	local out status
	out=$("$1" run --json --profile "$2" "$3" 2>&1 | sha256sum; exit "${PIPESTATUS[0]}")
	status=$?
	echo "${out%% *} $status"
}

runs=0 differ=0 refused=0
for scenario in "${scenarios[@]}"; do
	for profile in "${profiles[@]}"; do
		first=$(fingerprint "$1" "$profile" "$scenario")
		case ${first##* } in
		0 | 1) ;;
		*)
			echo "$scenario as $profile: exit status ${first##* }"
			refused=$((refused + 1))
			;;
		esac
		for program in "${@:2}"; do
			runs=$((runs + 1))
			this=$(fingerprint "$program" "$profile" "$scenario")
			if [ "$this" != "$first" ]; then
				echo "$scenario as $profile: $program: $this; $1: $first"
				differ=$((differ + 1))
			fi
		done
	done
done
echo "determinism: ${#scenarios[@]} scenarios, ${#profiles[@]} profiles, $# programs:" \
	"$runs comparisons, $differ differ, $refused could not run"
[ $((differ + refused)) -eq 0 ]
