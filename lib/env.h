/*
 * env.h - floor 0, ground: the one context that everything takes.
 *
 * Knobs, features, counters, events, costs, virtual clock, seeded chance, host
 * memory. No other file holds state of its own or calls malloc, a clock or a
 * random source.
 *
 * Host memory. ks_alloc() and ks_pool_alloc() never return NULL: when the host
 * has no memory (or an index space is full) they leave through ks_fail(), which
 * jumps to the public function that is running; that one returns the error and
 * the machine refuses everything but being freed. So no floor above has an
 * error path for the host, and `int` results are always the simulated kernel's.
 * All memory hangs off env (tracked list) or off a pool, so a jump leaks nothing.
 */
#ifndef KS_ENV_H
#define KS_ENV_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "ksmsim.h"

enum ks_feature {
#define FEATURE(name, v6_1, v6_12, v6_18, v7_3, where, doc) KS_FEAT_##name,
#include "ksmsim/features.def"
	KS_FEAT_NR
};

enum ks_profile {
#define PROFILE(id, name, source) KS_PROFILE_##id,
#include "ksmsim/profiles.def"
	KS_PROFILE_NR
};

enum ks_knob {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) KS_KNOB_##name,
#include "ksmsim/knobs.def"
	KS_KNOB_NR
};

enum ks_cost {
#define COST(name, ns, doc) KS_COST_##name,
#include "ksmsim/costs.def"
	KS_COST_NR
};

/* hugepages-<size>kB/enabled */
enum ks_thp_size {
	KS_THP_SIZE_NEVER,
	KS_THP_SIZE_INHERIT,
	KS_THP_SIZE_MADVISE,
	KS_THP_SIZE_ALWAYS
};
/* knob thp_enabled */
enum ks_thp_enabled { KS_THP_ALWAYS, KS_THP_MADVISE, KS_THP_NEVER };

struct ks_knobs {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) uint64_t name;
#include "ksmsim/knobs.def"
};

/* Header in front of every tracked allocation. */
struct ks_alloc_header {
	struct ks_alloc_header *prev, *next;
	size_t bytes; /* of the payload */
	size_t pad;   /* keeps the payload 16-byte aligned */
};

struct ks_env {
	struct ks_knobs knob;
	bool feature[KS_FEAT_NR];
	enum ks_profile profile;
	uint64_t count[KSMSIM_COUNT_NR];
	int64_t mthp[KSMSIM_MTHP_NR][KSMSIM_ORDERS]; /* statistics of large folios by order */
	uint8_t thp_size[KSMSIM_ORDERS];	     /* hugepages-*kB/enabled: enum ks_thp_size */
	uint64_t cost_ns[KS_COST_NR];
	uint64_t cost_count[KS_COST_NR];
	uint64_t inject[KSMSIM_INJECT_NR]; /* simulated failures still to come */

	uint64_t now_ns;  /* virtual CLOCK_MONOTONIC since boot */
	uint64_t ksmd_ns; /* modelled CPU time of ksmd */
	uint64_t task_ns; /* modelled CPU time of everything else */
	bool ksmd_runs;	  /* whom ks_cost() charges */

	uint64_t seed;
	uint64_t chance; /* state of the generator */

	ksmsim_listener listener;
	void *listener_self;
	bool in_listener;

	struct ksmsim_allocator allocator;
	struct ks_alloc_header allocs; /* list head */
	uint64_t host_bytes;	       /* now in use from the allocator */
	jmp_buf *out;		       /* set while a public function runs */
	int failed;		       /* sticky KSMSIM_E... */
};

void ks_env_init(struct ks_env *env, const struct ksmsim_allocator *allocator,
		 enum ks_profile profile, uint64_t seed);
/* Frees every tracked allocation; pools are freed by their owners before. */
void ks_env_destroy(struct ks_env *env);

/* @chosen, or the built-in allocator for NULL. */
const struct ksmsim_allocator *ks_allocator(const struct ksmsim_allocator *chosen);

noreturn void ks_fail(struct ks_env *env, int error);

void *ks_alloc(struct ks_env *env, size_t bytes);	       /* zeroed */
void *ks_realloc(struct ks_env *env, void *ptr, size_t bytes); /* growth is zeroed */
void ks_free(struct ks_env *env, void *ptr);		       /* NULL is fine */
size_t ks_alloc_bytes(const void *ptr);

/* Uniform in [0, below); below > 0. */
uint64_t ks_chance(struct ks_env *env, uint64_t below);

static inline void ks_count(struct ks_env *env, enum ksmsim_counter counter, int64_t by)
{
	env->count[counter] += (uint64_t)by;
}

static inline void ks_mthp(struct ks_env *env, enum ksmsim_mthp stat, unsigned order, int64_t by)
{
	env->mthp[stat][order] += by;
}

static inline void ks_cost_n(struct ks_env *env, enum ks_cost cost, uint64_t n)
{
	const uint64_t ns = env->cost_ns[cost] * n;

	env->cost_count[cost] += n;
	if (env->ksmd_runs)
		env->ksmd_ns += ns;
	else
		env->task_ns += ns;
}

static inline void ks_cost(struct ks_env *env, enum ks_cost cost)
{
	ks_cost_n(env, cost, 1);
}

/* true: the simulated allocation of this kind must fail now (one injected failure is used up). */
static inline bool ks_inject(struct ks_env *env, enum ksmsim_inject what)
{
	if (!env->inject[what])
		return false;
	env->inject[what]--;
	return true;
}

/* trace.c: stamp and hand to the listener; nothing if nobody listens or the profile lacks it. */
void ks_trace(struct ks_env *env, struct ksmsim_event *event);

noreturn void ks_assert_failed(const struct ks_env *env, const char *what, const char *file,
			       int line);
/* A broken promise of our own: stop, with seed and time. One condition each. */
#define KS_ASSERT(env, condition)                                                \
	do {                                                                     \
		if (__builtin_expect(!(condition), 0))                           \
			ks_assert_failed((env), #condition, __FILE__, __LINE__); \
	} while (0)

/*
 * Pool: objects of one size by 32-bit index, index 0 is never used. Memory
 * comes in chunks that double, so objects never move, a small machine is small,
 * and an index is resolved without a table walk. Freed objects are reused last
 * in, first out, zeroed.
 */
#define KS_POOL_CHUNKS 27u
#define KS_POOL_BASE_SHIFT 6u /* the first chunk holds 64 objects */

struct ks_pool {
	char *chunk[KS_POOL_CHUNKS];
	uint32_t object_bytes; /* multiple of 4, at least 4 */
	uint32_t used;	       /* indices ever handed out, + 1 */
	uint32_t free_head;    /* 0: none; the next one is in the first 4 bytes */
	uint32_t live;	       /* objects in use */
};

void ks_pool_init(struct ks_pool *pool, uint32_t object_bytes);
void ks_pool_destroy(struct ks_env *env, struct ks_pool *pool);
uint32_t ks_pool_alloc(struct ks_env *env, struct ks_pool *pool);
void ks_pool_free(struct ks_env *env, struct ks_pool *pool, uint32_t idx);
/* bytes of live objects */
static inline uint64_t ks_pool_bytes(const struct ks_pool *pool)
{
	return (uint64_t)pool->live * pool->object_bytes;
}

/* Index 0 may be asked for, also of a pool without chunks: an address that nobody uses. Hence
 * the integers: C has no NULL + 0. */
static inline void *ks_pool_at(const struct ks_pool *pool, uint32_t idx)
{
	const uint32_t t = idx + (1u << KS_POOL_BASE_SHIFT);
	const uint32_t k = 31u - (uint32_t)__builtin_clz(t);

	return (void *)((uintptr_t)pool->chunk[k - KS_POOL_BASE_SHIFT] +
			(size_t)(t - (1u << k)) * pool->object_bytes);
}

/*
 * Map: uint64_t key -> uint64_t value, open addressing. Key 0 is not allowed.
 * Iteration order is never used for results.
 */
struct ks_map {
	uint64_t *slots; /* key, value pairs */
	uint32_t capacity, nr;
};

void ks_map_destroy(struct ks_env *env, struct ks_map *map);
/* NULL if absent; the pointer is valid until the next set or delete. */
uint64_t *ks_map_find(const struct ks_map *map, uint64_t key);
void ks_map_set(struct ks_env *env, struct ks_map *map, uint64_t key, uint64_t value);
bool ks_map_delete(struct ks_map *map, uint64_t key);

#endif
