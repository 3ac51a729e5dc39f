/*
 * test_env.c - floor 0: tables, host memory that can fail, chance, pools, maps.
 */
#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frame.h"

/* An allocator that counts, and fails at the @fail_at-th call. */
struct host {
	uint64_t calls, fail_at;
	int64_t blocks, bytes;
};

static void *host_alloc(void *self, size_t bytes)
{
	struct host *host = self;
	void *ptr;

	if (++host->calls == host->fail_at)
		return NULL;
	ptr = calloc(1, bytes);
	assert_non_null(ptr);
	host->blocks++;
	host->bytes += (int64_t)bytes;
	return ptr;
}

static void host_free(void *self, void *ptr, size_t bytes)
{
	struct host *host = self;

	host->blocks--;
	host->bytes -= (int64_t)bytes;
	free(ptr);
}

static void start(struct ks_env *env, struct host *host, jmp_buf *out)
{
	const struct ksmsim_allocator allocator = { host_alloc, host_free, host };

	ks_env_init(env, &allocator, KS_PROFILE_V6_18, 7);
	env->out = out;
}

/* ---- tables ---- */

static void defaults_come_from_the_tables(void **state)
{
	struct ks_env env;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 42);
	assert_int_equal(env.knob.pages_to_scan, 100);
	assert_int_equal(env.knob.max_page_sharing, 256);
	assert_int_equal(env.knob.lru_drain, 1);
	assert_int_equal(env.cost_ns[KS_COST_checksum], 400);
	assert_int_equal(env.cost_ns[KS_COST_fork_page], 39);
	assert_int_equal(env.cost_count[KS_COST_checksum], 0);
	assert_int_equal(env.profile, KS_PROFILE_V6_18);
	assert_int_equal(env.seed, 42);
	assert_int_equal(env.now_ns, 0);
	assert_int_equal(env.failed, 0);
	ks_env_destroy(&env);
}

static void a_profile_is_a_column_of_the_features(void **state)
{
	/* smart_scan 0 1 1 1, early_vma_flag 0 0 1 1, range_unmerge 0 0 0 1, range_scan 1 1 1 1 */
	static const bool expected[KS_PROFILE_NR][4] = {
		{ 0, 0, 0, 1 }, { 1, 0, 0, 1 }, { 1, 1, 0, 1 }, { 1, 1, 1, 1 }
	};

	(void)state;
	for (unsigned profile = 0; profile < KS_PROFILE_NR; profile++) {
		struct ks_env env;

		ks_env_init(&env, NULL, (enum ks_profile)profile, 0);
		assert_int_equal(env.feature[KS_FEAT_smart_scan], expected[profile][0]);
		assert_int_equal(env.feature[KS_FEAT_early_vma_flag], expected[profile][1]);
		assert_int_equal(env.feature[KS_FEAT_range_unmerge], expected[profile][2]);
		assert_int_equal(env.feature[KS_FEAT_range_scan], expected[profile][3]);
		ks_env_destroy(&env);
	}
}

static void costs_are_charged_to_who_runs(void **state)
{
	struct ks_env env;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	ks_cost(&env, KS_COST_visit);
	env.ksmd_runs = true;
	ks_cost_n(&env, KS_COST_checksum, 3);
	assert_int_equal(env.task_ns, 100);
	assert_int_equal(env.ksmd_ns, 1200);
	assert_int_equal(env.cost_count[KS_COST_visit], 1);
	assert_int_equal(env.cost_count[KS_COST_checksum], 3);
	ks_env_destroy(&env);
}

static void injected_failures_are_used_up(void **state)
{
	struct ks_env env;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	env.inject[KSMSIM_INJECT_frame] = 2;
	assert_true(ks_inject(&env, KSMSIM_INJECT_frame));
	assert_false(ks_inject(&env, KSMSIM_INJECT_rmap_item));
	assert_true(ks_inject(&env, KSMSIM_INJECT_frame));
	assert_false(ks_inject(&env, KSMSIM_INJECT_frame));
	ks_env_destroy(&env);
}

/* ---- chance ---- */

static void chance_repeats_with_its_seed(void **state)
{
	struct ks_env a, b, c;
	unsigned same_as_other_seed = 0;

	(void)state;
	ks_env_init(&a, NULL, KS_PROFILE_V6_18, 5);
	ks_env_init(&b, NULL, KS_PROFILE_V7_3, 5);
	ks_env_init(&c, NULL, KS_PROFILE_V6_18, 6);
	for (unsigned i = 0; i < 1000; i++) {
		const uint64_t one = ks_chance(&a, 1000000);

		assert_int_equal(one, ks_chance(&b, 1000000));
		same_as_other_seed += one == ks_chance(&c, 1000000);
	}
	assert_in_range(same_as_other_seed, 0, 3);
}

static void chance_is_uniform_below_its_bound(void **state)
{
	/* a quarter of all words must be refused, or the lowest third would come twice as often */
	const uint64_t third = UINT64_C(1) << 62, huge = 3 * third;
	struct ks_env env;
	unsigned seen[3] = { 0 }, low = 0;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 5);
	for (unsigned i = 0; i < 30000; i++)
		seen[ks_chance(&env, 3)]++;
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(seen[i], 9700, 10300);
	for (unsigned i = 0; i < 10000; i++) {
		const uint64_t word = ks_chance(&env, huge);

		assert_true(word < huge);
		low += word < third;
	}
	assert_in_range(low, 3150, 3520);
	assert_int_equal(ks_chance(&env, 1), 0);
}

/* ---- host memory ---- */

static void memory_is_zeroed_aligned_and_counted(void **state)
{
	struct host host = { 0 };
	struct ks_env env;
	jmp_buf out;
	unsigned char *a;

	(void)state;
	start(&env, &host, &out);
	a = ks_alloc(&env, 100);
	assert_int_equal((uintptr_t)a % 16, 0);
	assert_int_equal(ks_alloc_bytes(a), 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(a[i], 0);
	assert_int_equal(env.host_bytes, host.bytes);
	memset(a, 0xab, 100);
	a = ks_realloc(&env, a, 300);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(a[i], i < 100 ? 0xab : 0);
	a = ks_realloc(&env, a, 10);
	assert_int_equal(ks_alloc_bytes(a), 10);
	assert_int_equal(a[9], 0xab);
	assert_int_equal(host.blocks, 1);
	assert_int_equal(env.host_bytes, host.bytes);
	ks_free(&env, NULL);
	ks_free(&env, a);
	assert_int_equal(env.host_bytes, 0);
	assert_int_equal(host.blocks, 0);
	assert_int_equal(host.bytes, 0);
	ks_env_destroy(&env);
}

static void destroy_frees_what_was_forgotten(void **state)
{
	struct host host = { 0 };
	struct ks_env env;
	jmp_buf out;
	void *middle;

	(void)state;
	start(&env, &host, &out);
	ks_alloc(&env, 1);
	middle = ks_alloc(&env, 2);
	ks_alloc(&env, 0);
	ks_free(&env, middle);
	assert_int_equal(host.blocks, 2);
	ks_env_destroy(&env);
	assert_int_equal(host.blocks, 0);
	assert_int_equal(host.bytes, 0);
}

/* A bit of everything that allocates on the lower floors. */
static void use_all(struct ks_env *env, struct ks_contents *contents, struct ks_frames *frames,
		    struct ks_map *map)
{
	uint64_t chance = 1;
	uint8_t page[4096];
	void *ptr;

	env->knob.lru_drain = 0;
	ptr = ks_alloc(env, 10);
	ptr = ks_realloc(env, ptr, 1000);
	ks_contents_init(env, contents, 4096);
	ks_frames_init(env, frames, contents, 2, 9);
	for (uint32_t i = 0; i < 4096; i++)
		page[i] = (uint8_t)test_random(&chance);
	for (uint32_t i = 0; i < 200; i++) {
		const ks_cid cid = ks_content_seed(env, contents, i);

		ks_frame_hold(env, frames, ks_frame_alloc(env, frames, i % 2, cid, true), 1, 0);
		ks_content_patch(env, contents, cid, i, page, 4);
		page[i] ^= 1;
		ks_content_bytes(env, contents, page);
		ks_map_set(env, map, i + 1, i);
	}
	ks_free(env, ptr);
}

/* Runs use_all() on a host whose @fail_at-th allocation fails; was there one? */
static bool fails_without_leak(uint64_t fail_at)
{
	struct host host = { .fail_at = fail_at };
	static struct ks_contents contents;
	static struct ks_frames frames;
	static struct ks_map map;
	static struct ks_env env;
	jmp_buf out;

	memset(&contents, 0, sizeof(contents));
	memset(&frames, 0, sizeof(frames));
	memset(&map, 0, sizeof(map));
	start(&env, &host, &out);
	if (setjmp(out) == 0)
		use_all(&env, &contents, &frames, &map);
	assert_int_equal(env.failed, host.calls >= host.fail_at ? KSMSIM_ENOMEM : 0);
	ks_frames_destroy(&env, &frames);
	ks_contents_destroy(&env, &contents);
	ks_map_destroy(&env, &map);
	ks_env_destroy(&env);
	assert_int_equal(host.blocks, 0);
	assert_int_equal(host.bytes, 0);
	return env.failed;
}

static void nothing_leaks_whichever_allocation_fails(void **state)
{
	uint64_t fail_at = 1;

	(void)state;
	while (fails_without_leak(fail_at))
		fail_at++;
	assert_true(fail_at > 400); /* at least a block for each patch and each literal page */
}

static void the_first_failure_sticks(void **state)
{
	struct ks_env env;
	jmp_buf out;
	volatile int turns = 0;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	env.out = &out;
	if (setjmp(out) == 0)
		ks_alloc(&env, SIZE_MAX);
	assert_int_equal(env.failed, KSMSIM_ENOMEM);
	turns++;
	if (turns == 1)
		ks_fail(&env, KSMSIM_ELIMIT);
	assert_int_equal(turns, 2);
	assert_int_equal(env.failed, KSMSIM_ENOMEM);
	ks_env_destroy(&env);
}

static void a_broken_promise_stops_with_seed_and_time(void **state)
{
	char text[256] = { 0 };
	int fds[2], status = 0;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct ks_env env;

		dup2(fds[1], STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		ks_env_init(&env, NULL, KS_PROFILE_V6_18, 77);
		env.now_ns = 12345;
		KS_ASSERT(&env, env.now_ns == 0);
		_exit(0);
	}
	close(fds[1]);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "env.now_ns == 0"));
	assert_non_null(strstr(text, "seed 77"));
	assert_non_null(strstr(text, "12345 ns"));
}

/* ---- pools ---- */

static void pool_objects_stay_and_are_zeroed(void **state)
{
	enum { NR = 5000 };
	static uint32_t *at[NR + 1];
	struct ks_env env;
	struct ks_pool pool;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	ks_pool_init(&pool, 12);
	for (uint32_t i = 1; i <= NR; i++) {
		assert_int_equal(ks_pool_alloc(&env, &pool), i);
		at[i] = ks_pool_at(&pool, i);
		for (unsigned word = 0; word < 3; word++) {
			assert_int_equal(at[i][word], 0);
			at[i][word] = i * 4 + word;
		}
	}
	for (uint32_t i = 1; i <= NR; i++) {
		assert_ptr_equal(ks_pool_at(&pool, i), at[i]);
		for (unsigned word = 0; word < 3; word++)
			assert_int_equal(at[i][word], i * 4 + word);
	}
	assert_int_equal(pool.live, NR);
	assert_int_equal(ks_pool_bytes(&pool), 12 * NR);
	ks_pool_destroy(&env, &pool);
	assert_int_equal(env.host_bytes, 0);
	assert_int_equal(ks_pool_alloc(&env, &pool), 1); /* usable again */
	ks_env_destroy(&env);
}

static void pool_reuses_last_in_first_out(void **state)
{
	struct ks_env env;
	struct ks_pool pool;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	ks_pool_init(&pool, 16);
	for (unsigned i = 0; i < 10; i++)
		memset(ks_pool_at(&pool, ks_pool_alloc(&env, &pool)), 0xff, 16);
	ks_pool_free(&env, &pool, 3);
	ks_pool_free(&env, &pool, 9);
	ks_pool_free(&env, &pool, 5);
	assert_int_equal(pool.live, 7);
	assert_int_equal(ks_pool_alloc(&env, &pool), 5);
	assert_int_equal(ks_pool_alloc(&env, &pool), 9);
	assert_int_equal(ks_pool_alloc(&env, &pool), 3);
	assert_int_equal(ks_pool_alloc(&env, &pool), 11);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(((unsigned char *)ks_pool_at(&pool, 9))[i], 0);
	ks_pool_destroy(&env, &pool);
	ks_env_destroy(&env);
}

static void pool_is_full_before_indices_wrap(void **state)
{
	struct ks_env env;
	struct ks_pool pool;
	jmp_buf out;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	env.out = &out;
	ks_pool_init(&pool, 4);
	pool.used = UINT32_MAX - 63;
	if (setjmp(out) == 0)
		ks_pool_alloc(&env, &pool);
	assert_int_equal(env.failed, KSMSIM_ELIMIT);
	ks_env_destroy(&env);
}

/* ---- maps ---- */

static void map_agrees_with_an_array(void **state)
{
	enum { KEYS = 300 };
	/* keys that collide in their low bits, and the largest one */
	static uint64_t value[KEYS];
	struct ks_env env;
	struct ks_map map = { 0 };
	uint64_t chance = 3;

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	assert_null(ks_map_find(&map, 1));
	assert_false(ks_map_delete(&map, 1));
	for (unsigned step = 0; step < 60000; step++) {
		const unsigned i = test_random_below(&chance, step < 40000 ? KEYS : 40);
		const uint64_t key = i % 3 ? UINT64_MAX - i * UINT64_C(4096) : i + 1;
		const uint64_t *found = ks_map_find(&map, key);
		unsigned live = 0;

		assert_int_equal(found != NULL, value[i] != 0);
		if (found)
			assert_int_equal(*found, value[i]);
		if (test_random_below(&chance, 100) < 55) {
			value[i] = step + 1;
			ks_map_set(&env, &map, key, value[i]);
		} else {
			assert_int_equal(ks_map_delete(&map, key), value[i] != 0);
			value[i] = 0;
		}
		if (step % 1000)
			continue;
		for (unsigned k = 0; k < KEYS; k++)
			live += value[k] != 0;
		assert_int_equal(map.nr, live);
	}
	ks_map_destroy(&env, &map);
	assert_int_equal(env.host_bytes, 0);
	ks_env_destroy(&env);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(defaults_come_from_the_tables),
	cmocka_unit_test(a_profile_is_a_column_of_the_features),
	cmocka_unit_test(costs_are_charged_to_who_runs),
	cmocka_unit_test(injected_failures_are_used_up),
	cmocka_unit_test(chance_repeats_with_its_seed),
	cmocka_unit_test(chance_is_uniform_below_its_bound),
	cmocka_unit_test(memory_is_zeroed_aligned_and_counted),
	cmocka_unit_test(destroy_frees_what_was_forgotten),
	cmocka_unit_test(nothing_leaks_whichever_allocation_fails),
	cmocka_unit_test(the_first_failure_sticks),
	cmocka_unit_test(a_broken_promise_stops_with_seed_and_time),
	cmocka_unit_test(pool_objects_stay_and_are_zeroed),
	cmocka_unit_test(pool_reuses_last_in_first_out),
	cmocka_unit_test(pool_is_full_before_indices_wrap),
	cmocka_unit_test(map_agrees_with_an_array),
};

TEST_MAIN(tests)
