/*
 * ksmworld.h - one machine, seen from inside, for the tests of KSM.
 *
 * A world is a process with mergeable pages at WORLD_BASE, a page table and a
 * segment of its own for each 512, and the events since they were last forgotten.
 */
#ifndef KSMWORLD_H
#define KSMWORLD_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "test.h"

#define PAGE UINT64_C(4096)
#define WORLD_BASE (UINT64_C(1) << 40)
#define VPN(page) (WORLD_BASE / PAGE + (page))
#define JIFFY UINT64_C(4000000)
#define EVENTS 64u
#define BLOCK 512u /* pages of a THP */

struct world {
	struct ksmsim *sim;
	uint32_t pid;
	struct ksmsim_event event[EVENTS];
	unsigned nr_events;
};

static inline void good(int error)
{
	if (error)
		fail_msg("%s", ksmsim_strerror(error));
}

static inline void set(struct world *w, const char *file, const char *text)
{
	int64_t ret = 0;

	good(ksmsim_sysfs_write(w->sim, file, text, strlen(text), &ret));
	assert_int_equal(ret, strlen(text));
}

static inline int64_t count(struct world *w, enum ksmsim_counter counter)
{
	int64_t value;

	good(ksmsim_counter_get(w->sim, counter, &value));
	return value;
}

static inline void expect_sound(struct world *w)
{
	char text[160] = "";

	if (ksmsim_check(w->sim, text, sizeof(text)))
		fail_msg("%s", text);
}

static inline void listen(void *self, const struct ksmsim_event *event)
{
	struct world *w = self;

	if (w->nr_events < EVENTS)
		w->event[w->nr_events++] = *event;
}

static inline uint32_t process(struct world *w, uint64_t pages)
{
	const struct ksmsim_mmap map = { .vaddr = WORLD_BASE,
					 .length = pages * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };
	uint32_t pid;

	good(ksmsim_spawn(w->sim, &pid));
	good(ksmsim_mmap(w->sim, pid, &map, NULL));
	good(ksmsim_madvise(w->sim, pid, WORLD_BASE, map.length, KSMSIM_MADV_MERGEABLE, NULL));
	return pid;
}

static inline void begin(struct world *w, const char *profile, uint64_t pages)
{
	const struct ksmsim_config config = { .profile = profile };

	memset(w, 0, sizeof(*w));
	good(ksmsim_new(&config, &w->sim));
	good(ksmsim_listen(w->sim, listen, w));
	set(w, "ksm/run", "1");
	if (strcmp(profile, "linux-6.1"))
		set(w, "ksm/smart_scan", "0");
	w->pid = process(w, pages);
}

static inline void end(struct world *w)
{
	expect_sound(w);
	ksmsim_free(w->sim);
}

/* memcmp order of the pages is the order of the tags. */
static inline void tag(struct world *w, uint32_t pid, uint64_t page, uint64_t value)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_TAG, .value = value };
	int64_t ret = 0;

	good(ksmsim_fill(w->sim, pid, WORLD_BASE + page * PAGE, 1, &content, &ret));
	assert_int_equal(ret, 0);
}

/* All of them at once, so that an empty block becomes a THP. */
static inline void fill_with(struct world *w, uint64_t page, uint64_t pages,
			     enum ksmsim_content_kind kind, uint64_t value)
{
	const struct ksmsim_content content = { .kind = kind, .value = value };
	int64_t ret = 0;

	good(ksmsim_fill(w->sim, w->pid, WORLD_BASE + page * PAGE, pages, &content, &ret));
	assert_int_equal(ret, 0);
}

static inline struct ksmsim_process figures(struct world *w, uint32_t pid)
{
	struct ksmsim_process process_figures;

	good(ksmsim_process_get(w->sim, pid, &process_figures));
	return process_figures;
}

static inline void drop(struct world *w, uint64_t page, uint64_t pages)
{
	good(ksmsim_madvise(w->sim, w->pid, WORLD_BASE + page * PAGE, pages * PAGE,
			    KSMSIM_MADV_DONTNEED, NULL));
}

static inline uint64_t batch(struct world *w, uint64_t pages)
{
	uint64_t visited;

	good(ksmsim_ksmd_batch(w->sim, pages, &visited));
	return visited;
}

static inline void scan(struct world *w, unsigned times)
{
	while (times--)
		batch(w, UINT32_MAX);
}

static inline struct ks_item item_of(struct world *w, uint32_t pid, uint64_t page)
{
	struct ks_item item;

	assert_true(ks_item_find(&w->sim->ksm, ks_machine_mm(w->sim, pid), VPN(page), NULL, &item));
	return item;
}

#endif
