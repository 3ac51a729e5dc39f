/*
 * world.c - the names of a scenario: processes, their address spaces, regions.
 *
 *	process A --> mm 0 (gone with exec) --> heap, buf
 *	          \-> mm 2 (now)            --> heap
 *
 * An mm is remembered by the id that the backend uses in events, for ever: KSM
 * may drop items of it long after it has gone, and the events still say A.heap.
 * For the same reason a region that was unmapped stays as a shadow until
 * something else is mapped over it or GONE_MAX younger ones have gone.
 *
 * Places: from 1 TiB up, 2 MiB aligned, at least 2 MiB apart, never reused.
 * They depend on the lines of the scenario alone.
 */
#include <string.h>

#include "world.h"

#define GONE_MAX 256u

void sim_world_init(struct sim_world *world, struct sim_mem *mem)
{
	memset(world, 0, sizeof(*world));
	world->mem = mem;
}

void sim_world_free(struct sim_world *world)
{
	size_t i;

	for (i = 0; i < world->nr_mms; i++)
		sim_free(world->mem, world->mms[i].regions);
	for (i = 0; i < world->nr_names; i++)
		sim_free(world->mem, world->names[i]);
	sim_free(world->mem, world->mms);
	sim_free(world->mem, world->names);
	sim_free(world->mem, world->processes);
	sim_map_free(world->mem, &world->name_map);
	sim_map_free(world->mem, &world->process_map);
	sim_map_free(world->mem, &world->mm_map);
}

/* ---- names ---- */

static uint64_t hash_of(struct sim_word word)
{
	uint64_t hash = 0xcbf29ce484222325u;
	size_t i;

	for (i = 0; i < word.length; i++)
		hash = (hash ^ (unsigned char)word.text[i]) * 0x100000001b3u;
	return hash;
}

/* Index + 1, or 0; *key: where it is, or would be. */
static uint64_t name_find(const struct sim_world *world, struct sim_word word, uint64_t *key)
{
	uint64_t found;

	for (*key = hash_of(word); (found = sim_map_get(&world->name_map, *key)) != 0; ++*key)
		if (sim_word_is(word, world->names[found - 1]))
			return found;
	return 0;
}

const char *sim_world_intern(struct sim_world *world, struct sim_word word)
{
	uint64_t key, found = name_find(world, word, &key);
	char *copy;

	if (found)
		return world->names[found - 1];
	if (!sim_grow(world->mem, &world->names, &world->names_capacity, world->nr_names,
		      sizeof(*world->names)))
		return NULL;
	copy = sim_alloc(world->mem, word.length + 1);
	if (!copy)
		return NULL;
	if (!sim_map_set(world->mem, &world->name_map, key, world->nr_names + 1)) {
		sim_free(world->mem, copy);
		return NULL;
	}
	memcpy(copy, word.text, word.length);
	world->names[world->nr_names++] = copy;
	return copy;
}

uint32_t sim_world_process(const struct sim_world *world, struct sim_word name)
{
	uint64_t key, found = name_find(world, name, &key);

	return found ? (uint32_t)(sim_map_get(&world->process_map, found) - 1) : SIM_NONE;
}

struct sim_mm *sim_world_mm(struct sim_world *world, uint32_t process)
{
	return &world->mms[world->processes[process].mm];
}

struct sim_region *sim_world_region(struct sim_world *world, uint32_t process, struct sim_word name)
{
	struct sim_mm *mm = sim_world_mm(world, process);
	size_t i;

	for (i = mm->nr; i-- > 0;)
		if (!mm->regions[i].gone && sim_word_is(name, mm->regions[i].name))
			return &mm->regions[i];
	return NULL;
}

const struct sim_region *sim_world_region_at(const struct sim_mm *mm, uint64_t vaddr)
{
	const struct sim_region *gone = NULL, *region;
	size_t i;

	for (i = mm->nr; i-- > 0;) {
		region = &mm->regions[i];
		if (vaddr < region->vaddr || vaddr - region->vaddr >= region->length)
			continue;
		if (!region->gone)
			return region;
		if (!gone)
			gone = region;
	}
	return gone;
}

const char *sim_world_process_name(const void *world, size_t i)
{
	const struct sim_world *w = world;

	return i < w->nr_processes ? w->processes[i].name : NULL;
}

const char *sim_world_region_name(const void *mm, size_t i)
{
	const struct sim_mm *m = mm;
	size_t at;

	for (at = 0; at < m->nr; at++)
		if (!m->regions[at].gone && !i--)
			return m->regions[at].name;
	return NULL;
}

/* ---- address spaces ---- */

uint32_t sim_world_mm_of(struct sim_world *world, uint64_t id)
{
	const uint64_t found = sim_map_get(&world->mm_map, id + 1);
	struct sim_mm *mm;

	if (found)
		return (uint32_t)(found - 1);
	if (!sim_grow(world->mem, &world->mms, &world->mms_capacity, world->nr_mms,
		      sizeof(*world->mms)) ||
	    !sim_map_set(world->mem, &world->mm_map, id + 1, world->nr_mms + 1))
		return SIM_NONE;
	mm = &world->mms[world->nr_mms];
	memset(mm, 0, sizeof(*mm));
	mm->process = SIM_NONE;
	mm->place = SIM_PLACE_FIRST;
	return (uint32_t)world->nr_mms++;
}

static bool inherit(struct sim_world *world, struct sim_mm *child, const struct sim_mm *parent)
{
	size_t i;

	child->place = parent->place;
	for (i = 0; i < parent->nr; i++) {
		if (parent->regions[i].gone)
			continue;
		if (!sim_grow(world->mem, &child->regions, &child->capacity, child->nr,
			      sizeof(*child->regions)))
			return false;
		child->regions[child->nr++] = parent->regions[i];
	}
	return true;
}

bool sim_world_born(struct sim_world *world, const char *name, uint64_t mm_id, uint32_t parent)
{
	const uint32_t mm = sim_world_mm_of(world, mm_id);
	struct sim_process *process;
	uint64_t key, named;

	if (mm == SIM_NONE || !sim_grow(world->mem, &world->processes, &world->processes_capacity,
					world->nr_processes, sizeof(*world->processes)))
		return false;
	if (parent != SIM_NONE && !inherit(world, &world->mms[mm], sim_world_mm(world, parent)))
		return false;
	named = name_find(world, (struct sim_word){ name, strlen(name) }, &key);
	if (!sim_map_set(world->mem, &world->process_map, named, world->nr_processes + 1))
		return false;
	world->mms[mm].process = (uint32_t)world->nr_processes;
	process = &world->processes[world->nr_processes++];
	memset(process, 0, sizeof(*process));
	process->name = name;
	process->mm = mm;
	process->alive = true;
	return true;
}

bool sim_world_exec(struct sim_world *world, uint32_t process, uint64_t mm_id)
{
	const uint32_t mm = sim_world_mm_of(world, mm_id);

	if (mm == SIM_NONE)
		return false;
	world->mms[mm].process = process;
	world->processes[process].mm = mm;
	return true;
}

/* ---- regions ---- */

static void region_drop(struct sim_mm *mm, size_t i)
{
	memmove(&mm->regions[i], &mm->regions[i + 1], (mm->nr - i - 1) * sizeof(*mm->regions));
	mm->nr--;
}

static bool inside(const struct sim_region *region, uint64_t vaddr, uint64_t length)
{
	return region->vaddr >= vaddr && region->vaddr - vaddr <= length &&
	       length - (region->vaddr - vaddr) >= region->length;
}

bool sim_world_mapped(struct sim_world *world, uint32_t process, const char *name, uint64_t vaddr,
		      uint64_t length)
{
	struct sim_mm *mm = sim_world_mm(world, process);
	size_t i, gone = 0;

	if (!sim_grow(world->mem, &mm->regions, &mm->capacity, mm->nr, sizeof(*mm->regions)))
		return false;
	for (i = mm->nr; i-- > 0;) {
		struct sim_region *old = &mm->regions[i];

		if (inside(old, vaddr, length) || (old->gone && ++gone > GONE_MAX))
			region_drop(mm, i);
		else if (!old->gone && !strcmp(old->name, name))
			old->gone = true;
	}
	mm->regions[mm->nr++] =
		(struct sim_region){ .name = name, .vaddr = vaddr, .length = length };
	return true;
}

/*
 * A refused mapping keeps its name and place, so that what follows gets the
 * kernel's answer too, and every other region is where it is on a kernel that
 * does not refuse.
 */
bool sim_world_refused(struct sim_world *world, uint32_t process, const char *name, uint64_t vaddr,
		       uint64_t length)
{
	struct sim_mm *mm = sim_world_mm(world, process);

	if (sim_world_region(world, process, (struct sim_word){ name, strlen(name) }))
		return true;
	if (!sim_grow(world->mem, &mm->regions, &mm->capacity, mm->nr, sizeof(*mm->regions)))
		return false;
	mm->regions[mm->nr++] = (struct sim_region){
		.name = name, .vaddr = vaddr, .length = length, .refused = true
	};
	return true;
}

void sim_world_unmapped(struct sim_world *world, uint32_t process, uint64_t vaddr, uint64_t length)
{
	struct sim_mm *mm = sim_world_mm(world, process);
	size_t i;

	for (i = 0; i < mm->nr; i++)
		if (inside(&mm->regions[i], vaddr, length))
			mm->regions[i].gone = true;
}

uint64_t sim_world_place(struct sim_world *world, uint32_t process, uint64_t length)
{
	const uint64_t mask = SIM_PLACE_ALIGN - 1;
	const struct sim_mm *mm = sim_world_mm(world, process);
	uint64_t vaddr = mm->place;
	size_t i;

	for (i = 0; i < mm->nr; i++) {
		const struct sim_region *region = &mm->regions[i];
		const uint64_t end = region->vaddr + region->length;

		if (length > INT64_MAX - vaddr || region->vaddr > INT64_MAX - region->length)
			return UINT64_MAX;
		if (region->gone || end + SIM_PLACE_ALIGN <= vaddr ||
		    region->vaddr >= vaddr + length + SIM_PLACE_ALIGN)
			continue;
		vaddr = ((end + mask) & ~mask) + SIM_PLACE_ALIGN;
		i = SIZE_MAX; /* from the start again: regions are not in order */
	}
	return length > INT64_MAX - vaddr ? UINT64_MAX : vaddr;
}

void sim_world_placed(struct sim_world *world, uint32_t process, uint64_t vaddr, uint64_t length)
{
	const uint64_t mask = SIM_PLACE_ALIGN - 1;

	sim_world_mm(world, process)->place = ((vaddr + length + mask) & ~mask) + SIM_PLACE_ALIGN;
}
