#!/bin/bash
# test.sh: set up, build and test everything. Works from any directory; about a quarter
# of an hour on two cores. Ends with one line `N passed, N failed`; exit status 0
# only if nothing failed.
#
# KSMSIM_FUZZ_SECONDS   CPU time for all fuzz targets together (default 40)
# KSMSIM_TIDY_CACHE     where clang-tidy keeps what it had nothing to say about (build/clang/tidy);
#                       checkouts may share it
set -u
source=$(cd "$(dirname "$0")" && pwd)
cd "$source" || exit 2

logs=$source/build/logs
jobs=$(nproc)
passed=0 failed=0
failures=() skips=()
running=

mkdir -p "$logs"
rm -f "$logs"/*.log

# ---- steps: run a command, its output in a log, one line about it on the screen ----

stop()
{
	[ -z "$running" ] || kill -- "-$running" 2>/dev/null
	echo
	echo "stopped"
	exit 130
}
trap stop INT TERM
set -m # each step is a process group of its own, so that stop() reaches all of it

say()
{
	if [ -t 1 ]; then
		printf '\r\033[K'
	fi
	printf '%s\n' "$*"
}

# step NAME COMMAND...: 1 if it failed. A step in which ctest ran counts as its tests, else as one;
# what its last line says after a "word: " is shown.
step()
{
	local name=$1 start=$SECONDS log status result=
	shift
	log=$logs/${name//[^A-Za-z0-9]/-}.log
	"$@" >"$log" 2>&1 </dev/null &
	running=$!
	while [ -t 1 ] && kill -0 "$running" 2>/dev/null; do
		printf '\r\033[K%-34s %4d s  %.40s' "$name" $((SECONDS - start)) "$(tail -c 200 "$log" |
			tr '\r' '\n' | tr -cd '[:print:]\n' | tail -n 1)"
		sleep 1
	done
	wait "$running"
	status=$?
	running=
	count "$log" "$status"
	if [ "$status" -eq 0 ]; then
		say "$(printf '%-34s %4d s  ok%s' "$name" $((SECONDS - start)) "$result")"
		return 0
	fi
	failures+=("$name")
	say "$(printf '%-34s %4d s  FAILED%s' "$name" $((SECONDS - start)) "$result")"
	tail -n 60 "$log" | sed 's/^/    /'
	echo "    (all of it: $log)"
	return 1
}

# Adds a step's tests to the sums and sets $result to what is worth saying about them.
count()
{
	local summary bad total
	summary=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+' "$1" | tail -n 1)
	result=
	if [ -z "$summary" ]; then
		[ "$2" -eq 0 ] && passed=$((passed + 1)) || failed=$((failed + 1))
		result=$(tail -n 1 "$1" | sed -n 's/^[a-z-]*: /, /p')
		return
	fi
	bad=$(sed -E 's/.*, ([0-9]+) tests failed.*/\1/' <<<"$summary")
	total=${summary##* }
	passed=$((passed + total - bad))
	failed=$((failed + bad))
	result=", $summary"
	while read -r skipped; do
		passed=$((passed - 1))
		skips+=("$skipped: by itself, see $1")
	done < <(sed -nE 's/^\s+[0-9]+ - (\S+) \(Skipped\)$/\1/p' "$1")
}

skip()
{
	skips+=("$1: $2")
	say "$(printf '%-34s         skipped: %s' "$1" "$2")"
}

# ---- the steps ----

build()
{
	cmake --preset "$1" && cmake --build --preset "$1"
}

tests()
{
	ctest --preset "$1" --no-tests=error -j "$jobs"
}

# Only what the determinism job needs: the command line.
build_plain()
{
	cmake -S . -B "build/plain-$1$2" -G Ninja -DCMAKE_C_COMPILER="$1" -DCMAKE_BUILD_TYPE=None \
		-DCMAKE_C_FLAGS="$2" -DKSMSIM_WERROR=ON -DKSMSIM_JEMALLOC=OFF -DBUILD_TESTING=OFF \
		-DKSMSIM_BENCH=OFF -DKSMSIM_EXAMPLES=OFF && cmake --build "build/plain-$1$2"
}

build_plains()
{
	local compiler level

	for compiler in gcc clang-14; do
		for level in -O0 -O3; do
			build_plain $compiler $level || return 1
		done
	done
}

# What the sanitizers do not see: bytes read before they are written.
memcheck()
{
	local scenario

	for scenario in sim/scenarios/*.ksm; do
		valgrind --quiet --error-exitcode=99 --leak-check=full build/plain-gcc-O0/ksmsim run \
			"$scenario" || return 1
	done
	echo "memcheck: no bytes read before they were written, no leaks"
}

format()
{
	git ls-files -z -- '*.c' '*.h' | xargs -0 clang-format-14 --dry-run -Werror &&
		echo "clang-format: nothing to change"
}

clang_tidy()
{
	git ls-files -z -- '*.c' ':!tests/fuzz_*' | xargs -0 tests/clang_tidy.py build/clang
}

# A target starts from what is in tests/corpus/ and keeps what it finds in build/.
fuzz_target()
{
	local seconds=$1 target=$2 name=${2##*/} options=() status

	[ ! -f "tests/corpus/$name.dict" ] || options+=("-dict=tests/corpus/$name.dict")
	mkdir -p "build/fuzz/corpus/$name"
	cp -rT "tests/corpus/$name" "build/fuzz/corpus/$name" 2>/dev/null
	"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/" "${options[@]}" "build/fuzz/corpus/$name" \
		>"build/fuzz/$name.log" 2>&1
	status=$?
	cat "build/fuzz/$name.log"
	return $status
}

# One target on each CPU at a time.
fuzz()
{
	local targets seconds

	mapfile -t targets < <(find build/fuzz -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort)
	[ ${#targets[@]} -gt 0 ] || { echo "no fuzz targets" && return 1; }
	seconds=$((${KSMSIM_FUZZ_SECONDS:-40} / ${#targets[@]}))
	export -f fuzz_target
	printf '%s\0' "${targets[@]}" |
		xargs -0 -n 1 -P "$jobs" bash -c 'fuzz_target "$@"' fuzz_target "$seconds" || return 1
	echo "fuzz: ${#targets[@]} targets, $seconds s each: no crash"
}

# The installed package, static and shared of the same objects, by CMake and by pkg-config.
package()
{
	local kind shared prefix

	for kind in static shared; do
		shared=OFF
		[ $kind = static ] || shared=ON
		prefix=$source/build/package/$kind
		cmake --preset release -B build/package -DBUILD_SHARED_LIBS=$shared \
			-DBUILD_TESTING=OFF -DKSMSIM_BENCH=OFF -DKSMSIM_EXAMPLES=OFF \
			-DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_PREFIX="$prefix" &&
			cmake --build build/package --target install &&
			cmake -S examples -B "build/examples-$kind" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" &&
			cmake --build "build/examples-$kind" || return 1
		package_pkg_config $kind "$prefix" || return 1
	done
	if nm -D --defined-only build/package/shared/lib/libksmsim.so | grep -v ' ksmsim_'; then
		echo "the shared library exports names of its own"
		return 1
	fi
	ctest --test-dir build/examples-shared --no-tests=error || return 1
	ctest --test-dir build/examples-static --no-tests=error
}

package_pkg_config()
{
	local flags

	[ "$1" = shared ] || flags=--static
	flags=$(PKG_CONFIG_PATH=$2/lib/pkgconfig pkg-config --cflags --libs ${flags-} ksmsim) || return 1
	# shellcheck disable=SC2086
	gcc -o "build/package/savings-$1" examples/savings.c $flags &&
		LD_LIBRARY_PATH=$2/lib "build/package/savings-$1"
}

# ---- all of them ----

./setup.sh test || exit 1

step "gcc, sanitizers: build" build asan && step "gcc, sanitizers: tests" tests asan
step "clang, sanitizers: build" build clang && step "clang, sanitizers: tests" tests clang
step "release: build" build release && step "release: tests, quick benches" tests release
if step "plain builds, 2 compilers x 2" build_plains; then
	step "determinism" tests/determinism.sh build/plain-*/ksmsim
	step "valgrind" memcheck
fi
step "installed package" package
if git rev-parse HEAD >/dev/null 2>&1; then
	step "clang-format" format
	step "clang-tidy" clang_tidy
else
	skip "clang-format, clang-tidy" "not a git checkout, so what belongs to it is unknown"
fi
step "fuzz: build" build fuzz && step "fuzz" fuzz

# ---- the end ----

echo
for each in ${skips[@]+"${skips[@]}"}; do
	echo "skipped: $each"
done
for each in ${failures[@]+"${failures[@]}"}; do
	echo "failed: $each"
done
total=$((passed + failed))
echo "$((passed * 100 / total))% tests passed, $failed tests failed out of $total"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
