/*
 * env.c - floor 0: the context, host memory, chance, pools and maps.
 *
 * The only file of the library that calls malloc, and the only place where a
 * failing host turns into a jump. Every block from the allocator carries a
 * header in one circular list, so that whatever was half done when ks_fail()
 * left is found and freed by ks_env_destroy().
 *
 * What could surprise:
 *  - the list head lives inside struct ks_env: an env must not be copied or
 *    moved after ks_env_init();
 *  - ks_realloc() is always a new block, a copy and a free, because the
 *    allocator interface has no realloc; callers grow geometrically;
 *  - a pool never gives a chunk back before ks_pool_destroy();
 *  - maps never shrink: they serve sets that are small by nature.
 */
#include "env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tables ---- */

static const bool features[KS_FEAT_NR][KS_PROFILE_NR] = {
#define FEATURE(name, v6_1, v6_12, v6_18, v7_3, where, doc) { v6_1, v6_12, v6_18, v7_3 },
#include "ksmsim/features.def"
};

static const struct ks_knobs knob_defaults = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) .name = (def),
#include "ksmsim/knobs.def"
};

static const uint64_t cost_defaults[KS_COST_NR] = {
#define COST(name, ns, doc) (ns),
#include "ksmsim/costs.def"
};

/* ---- the built-in allocator ---- */

static void *builtin_alloc(void *self, size_t bytes)
{
	(void)self;
	return calloc(1, bytes);
}

static void builtin_free(void *self, void *ptr, size_t bytes)
{
	(void)self;
	(void)bytes;
	free(ptr);
}

static const struct ksmsim_allocator builtin_allocator = {
	.alloc = builtin_alloc,
	.free = builtin_free,
};

const struct ksmsim_allocator *ks_allocator(const struct ksmsim_allocator *chosen)
{
	return chosen ? chosen : &builtin_allocator;
}

/**
 * ks_env_init() - the context of a machine that has just booted
 * @env:       any memory; must stay where it is until ks_env_destroy()
 * @allocator: copied; NULL: calloc() and free()
 * @profile:   column of features.def
 * @seed:      start of ks_chance()
 */
void ks_env_init(struct ks_env *env, const struct ksmsim_allocator *allocator,
		 enum ks_profile profile, uint64_t seed)
{
	memset(env, 0, sizeof(*env));
	env->knob = knob_defaults;
	env->profile = profile;
	for (unsigned i = 0; i < KS_FEAT_NR; i++)
		env->feature[i] = features[i][profile];
	memcpy(env->cost_ns, cost_defaults, sizeof(env->cost_ns));
	env->seed = seed;
	env->chance = seed;
	env->allocator = *ks_allocator(allocator);
	env->allocs.prev = &env->allocs;
	env->allocs.next = &env->allocs;
}

void ks_env_destroy(struct ks_env *env)
{
	while (env->allocs.next != &env->allocs)
		ks_free(env, env->allocs.next + 1);
	KS_ASSERT(env, env->host_bytes == 0);
}

/**
 * ks_fail() - leave the running public function with a KSMSIM_E... code
 *
 * The first code sticks: the machine refuses everything with it from now on.
 */
noreturn void ks_fail(struct ks_env *env, int error)
{
	KS_ASSERT(env, env->out);
	if (!env->failed)
		env->failed = error;
	longjmp(*env->out, 1);
}

noreturn void ks_assert_failed(const struct ks_env *env, const char *what, const char *file,
			       int line)
{
	fprintf(stderr, "%s:%d: broken: %s (seed %llu, %llu ns)\n", file, line, what,
		(unsigned long long)env->seed, (unsigned long long)env->now_ns);
	abort();
}

/* ---- host memory ---- */

void *ks_alloc(struct ks_env *env, size_t bytes)
{
	struct ks_alloc_header *head;

	if (bytes > SIZE_MAX / 2)
		ks_fail(env, KSMSIM_ENOMEM);
	head = env->allocator.alloc(env->allocator.self, sizeof(*head) + bytes);
	if (!head)
		ks_fail(env, KSMSIM_ENOMEM);
	head->bytes = bytes;
	head->prev = env->allocs.prev;
	head->next = &env->allocs;
	head->prev->next = head;
	head->next->prev = head;
	env->host_bytes += sizeof(*head) + bytes;
	return head + 1;
}

void *ks_realloc(struct ks_env *env, void *ptr, size_t bytes)
{
	void *grown = ks_alloc(env, bytes);

	if (ptr) {
		const size_t old = ks_alloc_bytes(ptr);

		memcpy(grown, ptr, old < bytes ? old : bytes);
		ks_free(env, ptr);
	}
	return grown;
}

void ks_free(struct ks_env *env, void *ptr)
{
	struct ks_alloc_header *head = ptr;
	size_t bytes;

	if (!ptr)
		return;
	head--;
	head->prev->next = head->next;
	head->next->prev = head->prev;
	bytes = sizeof(*head) + head->bytes;
	env->host_bytes -= bytes;
	env->allocator.free(env->allocator.self, head, bytes);
}

size_t ks_alloc_bytes(const void *ptr)
{
	const struct ks_alloc_header *head = ptr;

	return (head - 1)->bytes;
}

/* ---- chance ---- */

/* The splitmix64 generator: a counter and a bijective mixer. */
static uint64_t next_random(struct ks_env *env)
{
	uint64_t z = env->chance += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return z ^ z >> 31;
}

uint64_t ks_chance(struct ks_env *env, uint64_t below)
{
	uint64_t biased, random;

	KS_ASSERT(env, below > 0);
	biased = (UINT64_MAX - below + 1) % below; /* 2^64 mod below: that many values too many */
	do
		random = next_random(env);
	while (random < biased);
	return random % below;
}

/* ---- pools ---- */

void ks_pool_init(struct ks_pool *pool, uint32_t object_bytes)
{
	memset(pool, 0, sizeof(*pool));
	pool->object_bytes = object_bytes;
	pool->used = 1;
}

void ks_pool_destroy(struct ks_env *env, struct ks_pool *pool)
{
	for (unsigned i = 0; i < KS_POOL_CHUNKS; i++)
		ks_free(env, pool->chunk[i]);
	ks_pool_init(pool, pool->object_bytes);
}

/* Makes sure that the chunk of @idx exists. */
static void pool_grow(struct ks_env *env, struct ks_pool *pool, uint32_t idx)
{
	unsigned chunk;
	uint64_t bytes;

	if (idx > UINT32_MAX - (1u << KS_POOL_BASE_SHIFT))
		ks_fail(env, KSMSIM_ELIMIT);
	chunk = 31u - (unsigned)__builtin_clz(idx + (1u << KS_POOL_BASE_SHIFT)) -
		KS_POOL_BASE_SHIFT;
	if (pool->chunk[chunk])
		return;
	bytes = ((uint64_t)pool->object_bytes << KS_POOL_BASE_SHIFT) << chunk;
	if (bytes > SIZE_MAX / 2)
		ks_fail(env, KSMSIM_ENOMEM);
	pool->chunk[chunk] = ks_alloc(env, (size_t)bytes);
}

/**
 * ks_pool_alloc() - a zeroed object
 * Returns: its index, never 0; leaves by ks_fail() if the host has no memory.
 */
uint32_t ks_pool_alloc(struct ks_env *env, struct ks_pool *pool)
{
	uint32_t idx = pool->free_head;

	if (idx) {
		void *object = ks_pool_at(pool, idx);

		memcpy(&pool->free_head, object, sizeof(pool->free_head));
		memset(object, 0, pool->object_bytes);
	} else {
		const uint32_t t = pool->used + (1u << KS_POOL_BASE_SHIFT);

		idx = pool->used;
		/* a new chunk begins at powers of two only; index 1 is the first of all */
		if ((t & (t - 1)) == 0 || idx == 1 || t < idx)
			pool_grow(env, pool, idx);
		pool->used++;
	}
	pool->live++;
	return idx;
}

void ks_pool_free(struct ks_env *env, struct ks_pool *pool, uint32_t idx)
{
	KS_ASSERT(env, idx > 0 && idx < pool->used);
	KS_ASSERT(env, pool->live > 0);
	memcpy(ks_pool_at(pool, idx), &pool->free_head, sizeof(pool->free_head));
	pool->free_head = idx;
	pool->live--;
}

/* ---- maps ---- */

#define MAP_CAPACITY_MIN 16u

/* Slot where the search for @key starts; the multiplier spreads consecutive keys. */
static uint32_t map_home(uint32_t capacity, uint64_t key)
{
	const uint64_t mixed = (key ^ key >> 32) * UINT64_C(0x9E3779B97F4A7C15);

	return (uint32_t)(mixed >> 32) & (capacity - 1);
}

/* The slot that holds @key, or the free one where it belongs. */
static uint32_t map_slot(const struct ks_map *map, uint64_t key)
{
	uint32_t slot = map_home(map->capacity, key);

	while (map->slots[2 * (size_t)slot] && map->slots[2 * (size_t)slot] != key)
		slot = (slot + 1) & (map->capacity - 1);
	return slot;
}

void ks_map_destroy(struct ks_env *env, struct ks_map *map)
{
	ks_free(env, map->slots);
	*map = (struct ks_map){ 0 };
}

uint64_t *ks_map_find(const struct ks_map *map, uint64_t key)
{
	uint64_t *slot;

	if (!map->nr)
		return NULL;
	slot = map->slots + 2 * (size_t)map_slot(map, key);
	return slot[0] ? slot + 1 : NULL;
}

static void map_grow(struct ks_env *env, struct ks_map *map)
{
	struct ks_map grown = { .nr = map->nr };

	if (map->capacity > UINT32_MAX / 2)
		ks_fail(env, KSMSIM_ELIMIT);
	grown.capacity = map->capacity ? 2 * map->capacity : MAP_CAPACITY_MIN;
	grown.slots = ks_alloc(env, 2 * sizeof(uint64_t) * (size_t)grown.capacity);
	for (size_t i = 0; i < map->capacity; i++) {
		const uint64_t key = map->slots[2 * i];

		if (key)
			memcpy(grown.slots + 2 * (size_t)map_slot(&grown, key), map->slots + 2 * i,
			       2 * sizeof(uint64_t));
	}
	ks_free(env, map->slots);
	*map = grown;
}

void ks_map_set(struct ks_env *env, struct ks_map *map, uint64_t key, uint64_t value)
{
	uint64_t *slot;

	KS_ASSERT(env, key != 0);
	slot = ks_map_find(map, key);
	if (slot) {
		*slot = value;
		return;
	}
	if ((uint64_t)map->nr * 4 >= (uint64_t)map->capacity * 3)
		map_grow(env, map);
	slot = map->slots + 2 * (size_t)map_slot(map, key);
	slot[0] = key;
	slot[1] = value;
	map->nr++;
}

/* Closes the gap by moving later entries of the same cluster back: no tombstones. */
bool ks_map_delete(struct ks_map *map, uint64_t key)
{
	const uint32_t mask = map->capacity - 1;
	uint32_t gap, slot;

	if (!ks_map_find(map, key))
		return false;
	gap = map_slot(map, key);
	for (slot = (gap + 1) & mask; map->slots[2 * (size_t)slot]; slot = (slot + 1) & mask) {
		const uint32_t home = map_home(map->capacity, map->slots[2 * (size_t)slot]);

		/* an entry whose home lies behind the gap must not move before it */
		if (((slot - home) & mask) < ((slot - gap) & mask))
			continue;
		memcpy(map->slots + 2 * (size_t)gap, map->slots + 2 * (size_t)slot,
		       2 * sizeof(uint64_t));
		gap = slot;
	}
	map->slots[2 * (size_t)gap] = 0;
	map->slots[2 * (size_t)gap + 1] = 0;
	map->nr--;
	return true;
}
