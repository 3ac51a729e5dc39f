/*
 * test_oom.c - the host runs out of memory at every point there is.
 *
 * An allocator fails the n-th allocation, and only that one: whoever goes on
 * after a failure is seen. For n = 1, 2, ... until none fails the run must end
 * with KSMSIM_ENOMEM, refuse what follows, and give back all of its memory.
 *
 * To bound the time, not every n of a long run is tried: all of the first
 * ALL_OF, then every n that is a multiple of a step that leaves some SOME_OF
 * more. The step depends only on the number of allocations.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"
#include "test.h"

#define ALL_OF 200u
#define SOME_OF 50u

struct host {
	uint64_t asked, fail_at; /* fail_at 0: never */
	uint64_t live, bytes;
};

static void *host_alloc(void *self, size_t bytes)
{
	struct host *host = self;
	void *memory;

	if (++host->asked == host->fail_at)
		return NULL;
	memory = calloc(1, bytes ? bytes : 1);
	assert_non_null(memory);
	host->live++;
	host->bytes += bytes;
	return memory;
}

static void host_free(void *self, void *memory, size_t bytes)
{
	struct host *host = self;

	if (!memory)
		return;
	assert_true(host->live > 0 && host->bytes >= bytes);
	host->live--;
	host->bytes -= bytes;
	free(memory);
}

static void expect_all_returned(const struct host *host)
{
	assert_int_equal(host->live, 0);
	assert_int_equal(host->bytes, 0);
}

/* The n after @n; @all: how many allocations the whole run makes. */
static uint64_t next_failure(uint64_t n, uint64_t all)
{
	const uint64_t step = all > ALL_OF + SOME_OF ? (all - ALL_OF) / SOME_OF : 1;

	return n < ALL_OF ? n + 1 : (n / step + 1) * step;
}

/* ---- scenarios ---- */

struct scenario {
	const char *path, *profile;
	bool lua;
};

/* Runs to its end or to its error. @host->asked: how many allocations that took. */
static int run_scenario(const struct scenario *scenario, struct host *host)
{
	const struct ksmsim_allocator allocator = { host_alloc, host_free, host };
	const struct sim_options options = { .profile = scenario->profile,
					     .allocator = &allocator };
	FILE *in = fopen(scenario->path, "r");
	struct sim_run *run = NULL;
	char text[512];
	int error;

	assert_non_null(in);
	error = sim_run_new(&options, text, sizeof(text), &run);
	if (error) {
		assert_null(run);
		assert_true(text[0] != '\0');
	} else {
		error = scenario->lua ? sim_run_lua(run, in, scenario->path)
				      : sim_run_lines(run, in, scenario->path);
		if (!error)
			error = sim_run_end(run);
		if (error) {
			assert_true(sim_run_error(run)[0] != '\0');
			assert_int_equal(sim_run_line(run, "after", 1, "drain", 5), error);
			assert_int_equal(sim_run_end(run), error);
		}
		sim_run_free(run);
	}
	fclose(in);
	expect_all_returned(host);
	return error;
}

static uint64_t fail_everywhere(const struct scenario *scenario)
{
	struct host host = { 0 };
	uint64_t n, all, nr = 0;
	int error = run_scenario(scenario, &host);

	if (error)
		fail_msg("%s: does not run at all: %d", scenario->path, error);
	all = host.asked;
	for (n = 1; n <= all; n = next_failure(n, all)) {
		host = (struct host){ .fail_at = n };
		error = run_scenario(scenario, &host);
		/* Lua collects its garbage and asks once more */
		if (error != KSMSIM_ENOMEM && !(scenario->lua && !error))
			fail_msg("%s: allocation %llu of %llu fails, the run ends with %d",
				 scenario->path, (unsigned long long)n, (unsigned long long)all,
				 error);
		nr++;
	}
	return nr;
}

static bool ends_with(const char *name, const char *end)
{
	const size_t length = strlen(name), tail = strlen(end);

	return length > tail && !strcmp(name + length - tail, end);
}

/* Every @stride-th scenario of a directory, in the order of names. */
static unsigned fail_directory(const char *directory, size_t stride)
{
	static const char *const profiles[] = { "linux-6.18", "linux-7.3", "linux-6.1",
						"linux-6.12" };
	struct dirent **names;
	char path[1024], root[512];
	uint64_t tried = 0;
	unsigned nr = 0;
	int i, found;

	snprintf(root, sizeof(root), "%s/%s", KSMSIM_SOURCE_DIR, directory);
	found = scandir(root, &names, NULL, alphasort);
	assert_true(found >= 0);
	for (i = 0; i < found; i++) {
		const bool lua = ends_with(names[i]->d_name, ".lua");

		if ((lua || ends_with(names[i]->d_name, ".ksm")) && (size_t)i % stride == 0) {
			const struct scenario scenario = { path, profiles[nr % 4], lua };

			snprintf(path, sizeof(path), "%s/%s", root, names[i]->d_name);
			tried += fail_everywhere(&scenario);
			nr++;
		}
		free(names[i]);
	}
	free(names);
	print_message("%s: %u scenarios, %llu failures\n", directory, nr,
		      (unsigned long long)tried);
	return nr;
}

static void replay_scenarios_end_cleanly(void **state)
{
	(void)state;
	assert_true(fail_directory("tests/replay", 1) > 100);
}

static void shipped_scenarios_end_cleanly(void **state)
{
	(void)state;
	fail_directory("sim/scenarios", 1);
}

/* ---- the library alone ---- */

static void a_machine_is_made_wholly_or_not_at_all(void **state)
{
	static const unsigned nodes[] = { 1, 16 };
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct host host = { 0 };
		const struct ksmsim_allocator allocator = { host_alloc, host_free, &host };
		const struct ksmsim_config config = { .nr_nodes = nodes[i],
						      .allocator = &allocator };
		struct ksmsim *sim = NULL;
		uint64_t all, n;

		assert_int_equal(ksmsim_new(&config, &sim), 0);
		all = host.asked;
		ksmsim_free(sim);
		expect_all_returned(&host);
		assert_true(all > 1);
		for (n = 1; n <= all; n++) {
			host = (struct host){ .fail_at = n };
			sim = NULL;
			assert_int_equal(ksmsim_new(&config, &sim), KSMSIM_ENOMEM);
			assert_null(sim);
			expect_all_returned(&host);
		}
	}
}

#define PAGE UINT64_C(4096)
#define BASE (UINT64_C(1) << 40)

/* One call of each kind, in an order in which all do something; 0 past the last. */
static int call(struct ksmsim *sim, unsigned i)
{
	static const struct ksmsim_content byte = { .kind = KSMSIM_CONTENT_BYTE, .value = 7 };
	static const struct ksmsim_content seeds = { .kind = KSMSIM_CONTENT_SEEDS, .value = 1 };
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = 700 * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };
	const struct ksmsim_mmap mapped_file = { .length = 8 * PAGE,
						 .prot = KSMSIM_PROT_READ,
						 .file = 1 };
	uint8_t bytes[100] = { 1 };
	uint32_t made;

	switch (i) {
	case 0:
		return ksmsim_spawn(sim, &made);
	case 1:
		return ksmsim_mmap(sim, 1, &map, NULL);
	case 2:
		return ksmsim_madvise(sim, 1, BASE, 700 * PAGE, KSMSIM_MADV_MERGEABLE, NULL);
	case 3:
		return ksmsim_fill(sim, 1, BASE, 300, &byte, NULL);
	case 4:
		return ksmsim_fill(sim, 1, BASE + 300 * PAGE, 300, &seeds, NULL);
	case 5:
		return ksmsim_poke(sim, 1, BASE + 17, bytes, sizeof(bytes), NULL);
	case 6:
		return ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL);
	case 7:
	case 8:
	case 9:
		return ksmsim_ksmd_batch(sim, UINT32_MAX, NULL);
	case 10:
		return ksmsim_fork(sim, 1, &made, NULL);
	case 11:
		return ksmsim_touch(sim, 1, BASE, 100, NULL);
	case 12:
		return ksmsim_pin(sim, 1, BASE, 20, KSMSIM_PIN_WRITE, NULL);
	case 13:
		return ksmsim_swap_out(sim, 1, BASE + 200 * PAGE, 60, true, NULL);
	case 14:
		return ksmsim_mremap(sim, 1, BASE + 100 * PAGE, 50 * PAGE, 60 * PAGE,
				     KSMSIM_MREMAP_MAYMOVE, 0, NULL);
	case 15:
		return ksmsim_file_new(sim, &seeds, &made);
	case 16:
		return ksmsim_mmap(sim, 1, &mapped_file, NULL);
	case 17:
		return ksmsim_mprotect(sim, 1, BASE + 10 * PAGE, PAGE, KSMSIM_PROT_READ, NULL);
	case 18:
		return ksmsim_run(sim, 100000000);
	case 19:
		return ksmsim_exec(sim, 1, NULL);
	case 20:
		return ksmsim_sysfs_write(sim, "ksm/run", "2", 1, NULL);
	case 21:
		return ksmsim_check(sim, NULL, 0);
	case 22:
		return ksmsim_exit(sim, 1);
	default:
		return 0;
	}
}
#define CALLS 23u

static void nobody_reads_a_machine_without_memory(struct ksmsim *sim)
{
	struct ksmsim_process process;
	int64_t value;
	uint64_t hash;
	unsigned i;

	for (i = 0; i < CALLS; i++)
		assert_int_equal(call(sim, i), KSMSIM_ENOMEM);
	assert_int_equal(ksmsim_counter_get(sim, KSMSIM_COUNT_pages_shared, &value), KSMSIM_ENOMEM);
	assert_int_equal(ksmsim_process_get(sim, 1, &process), KSMSIM_ENOMEM);
	assert_int_equal(ksmsim_advance(sim, 1), KSMSIM_ENOMEM);
	assert_int_equal(ksmsim_hash(sim, &hash), KSMSIM_ENOMEM);
	assert_int_equal(ksmsim_listen(sim, NULL, NULL), KSMSIM_ENOMEM);
}

/* Returns true if the n-th allocation failed in some call. */
static bool fail_calls(uint64_t n)
{
	struct host host = { .fail_at = n };
	const struct ksmsim_allocator allocator = { host_alloc, host_free, &host };
	const struct ksmsim_config config = { .allocator = &allocator };
	struct ksmsim *sim;
	bool failed = false;
	unsigned i;
	int error = ksmsim_new(&config, &sim);

	if (error) {
		assert_int_equal(error, KSMSIM_ENOMEM);
		return true;
	}
	for (i = 0; !failed && i < CALLS; i++) {
		error = call(sim, i);
		if (error && error != KSMSIM_ENOMEM)
			fail_msg("allocation %llu fails, call %u returns %d", (unsigned long long)n,
				 i, error);
		failed = error != 0;
		assert_int_equal(failed, host.asked >= n);
	}
	if (failed)
		nobody_reads_a_machine_without_memory(sim);
	ksmsim_free(sim);
	expect_all_returned(&host);
	return failed;
}

static void every_call_ends_cleanly(void **state)
{
	uint64_t n = 1;

	(void)state;
	while (fail_calls(n))
		n++;
	assert_true(n > 40);
	print_message("%llu allocations, each of which failed once\n", (unsigned long long)(n - 1));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_machine_is_made_wholly_or_not_at_all),
	cmocka_unit_test(every_call_ends_cleanly),
	cmocka_unit_test(replay_scenarios_end_cleanly),
	cmocka_unit_test(shipped_scenarios_end_cleanly),
};

TEST_MAIN(tests)
