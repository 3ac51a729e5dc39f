#!/bin/sh
# Record every shipped scenario on the running kernel: tests/recordings/NAME.jsonl, and
# tests/recordings/SKIPPED for those that it cannot do, with the reason.
#
#	tests/record.sh PROGRAM		needs root, KSM and nobody else using it
#
# Recordings above 200 KB are left out: what they show is in smaller ones too.
set -u
program=$1
source=$(cd "$(dirname "$0")/.." && pwd)
out=$source/tests/recordings
mkdir -p "$out"
: >"$out/SKIPPED.new"
cd "$source" || exit 2
for file in tests/replay/*.ksm tests/replay/*.lua sim/scenarios/*; do
	name=$(basename "$file")
	target=$out/$name.jsonl
	if ! why=$("$program" record "$file" -o "$target" 2>&1); then
		rm -f "$target"
		why=$(printf '%s\n' "$why" | sed 's/^ksmsim: //; s|^[^ ]*:[0-9]*: ||' | tail -n 1)
		printf '%s: %s\n' "$name" "$why" >>"$out/SKIPPED.new"
	elif [ "$(wc -c <"$target")" -gt 200000 ]; then
		rm -f "$target"
		printf '%s: the recording is larger than 200 KB\n' "$name" >>"$out/SKIPPED.new"
	elif [ -n "$why" ]; then
		printf '%s\n' "$why" >&2
	fi
done
mv "$out/SKIPPED.new" "$out/SKIPPED"
printf '%s recordings, %s skipped\n' "$(ls "$out"/*.jsonl | wc -l)" "$(wc -l <"$out/SKIPPED")"
