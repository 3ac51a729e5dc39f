#!/bin/bash
# determinism.sh PROGRAM...: the same scenario gives the same bytes whatever
# compiler and optimisation level built the program.
#
# Runs every shipped scenario as every profile with each PROGRAM and compares
# the sha256 of what `run --json` prints, and the exit status. A scenario whose
# expectations fail as one profile must fail everywhere in the same way. The
# scenarios are shared out among the CPUs.
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

# Prints a line for each comparison: "same", or what "differs" or is "refused".
compare()
{
	local scenario=$1 profile first program this
	shift
	for profile in "${profiles[@]}"; do
		first=$(fingerprint "$1" "$profile" "$scenario")
		case ${first##* } in
		0 | 1) ;;
		*) echo "refused: $scenario as $profile: exit status ${first##* }" ;;
		esac
		for program in "${@:2}"; do
			this=$(fingerprint "$program" "$profile" "$scenario")
			if [ "$this" = "$first" ]; then
				echo same
			else
				echo "differs: $scenario as $profile: $program: $this; $1: $first"
			fi
		done
	done
}

# Every N-th scenario, from the K-th on.
share()
{
	local i k=$1 n=$2
	shift 2
	for ((i = k; i < ${#scenarios[@]}; i += n)); do
		compare "${scenarios[i]}" "$@"
	done
}

results=$(mktemp -d) || exit 2
trap 'rm -rf "$results"' EXIT
cpus=$(nproc)
for ((k = 0; k < cpus; k++)); do
	share "$k" "$cpus" "$@" >"$results/$k" &
done
wait
sort "$results"/* | grep -v '^same$'
differ=$(cat "$results"/* | grep -c '^differs: ')
refused=$(cat "$results"/* | grep -c '^refused: ')
runs=$(cat "$results"/* | grep -cv '^refused: ')
echo "determinism: ${#scenarios[@]} scenarios, ${#profiles[@]} profiles, $# programs:" \
	"$runs comparisons, $differ differ, $refused could not run"
[ $((differ + refused)) -eq 0 ] && [ "$runs" -eq $((${#scenarios[@]} * ${#profiles[@]} * ($# - 1))) ]
