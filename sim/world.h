/*
 * world.h - the names of a scenario: processes, their address spaces, regions.
 *
 * The backend knows addresses and process numbers; people and recordings speak
 * of A.heap+3. Everything here is host-independent bookkeeping: the same lines
 * give the same addresses on every backend.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "mem.h"
#include "words.h"

#define SIM_NONE UINT32_MAX
#define SIM_PLACE_FIRST ((uint64_t)1 << 40)
#define SIM_PLACE_ALIGN ((uint64_t)1 << 21)

struct sim_region {
	const char *name; /* interned */
	uint64_t vaddr, length;
	bool gone;    /* unmapped; still names what KSM has not dropped yet */
	bool refused; /* the kernel refused the mapping: the place where it would be */
};

/* One address space. It outlives its process: items are dropped later. */
struct sim_mm {
	uint32_t process; /* SIM_NONE: not known (yet) */
	struct sim_region *regions;
	size_t nr, capacity;
	uint64_t place; /* where the next region may go */
};

struct sim_process {
	const char *name; /* interned */
	uint32_t mm;
	bool alive;
	struct ksmsim_process seen; /* at the last observation */
};

struct sim_world {
	struct sim_mem *mem;
	uint64_t page; /* bytes; set when the backend is known */
	struct sim_process *processes;
	size_t nr_processes, processes_capacity;
	struct sim_mm *mms;
	size_t nr_mms, mms_capacity;
	char **names;
	size_t nr_names, names_capacity;
	struct sim_map name_map;    /* hash of a name -> index + 1 */
	struct sim_map process_map; /* index of a name -> process + 1 */
	struct sim_map mm_map;	    /* id + 1 of the backend -> index in mms + 1 */
};

void sim_world_init(struct sim_world *world, struct sim_mem *mem);
void sim_world_free(struct sim_world *world);

/* The one copy of this text, for the life of the world; NULL: no memory. */
const char *sim_world_intern(struct sim_world *world, struct sim_word word);

/* SIM_NONE if there never was one */
uint32_t sim_world_process(const struct sim_world *world, struct sim_word name);
struct sim_mm *sim_world_mm(struct sim_world *world, uint32_t process);
/* NULL if there is none now */
struct sim_region *sim_world_region(struct sim_world *world, uint32_t process,
				    struct sim_word name);
/* The region that holds the address; one that has gone only if there is no other. */
const struct sim_region *sim_world_region_at(const struct sim_mm *mm, uint64_t vaddr);

/* The mm with this id of the backend; made, without a process, if it is new. SIM_NONE: no memory. */
uint32_t sim_world_mm_of(struct sim_world *world, uint64_t id);

/* What an operation that succeeded did. false: no memory. */
bool sim_world_born(struct sim_world *world, const char *name, uint64_t mm_id, uint32_t parent);
bool sim_world_exec(struct sim_world *world, uint32_t process, uint64_t mm_id);
bool sim_world_mapped(struct sim_world *world, uint32_t process, const char *name, uint64_t vaddr,
		      uint64_t length);
bool sim_world_refused(struct sim_world *world, uint32_t process, const char *name, uint64_t vaddr,
		       uint64_t length);
void sim_world_unmapped(struct sim_world *world, uint32_t process, uint64_t vaddr, uint64_t length);

/* The next free place for @length bytes; UINT64_MAX: none. */
uint64_t sim_world_place(struct sim_world *world, uint32_t process, uint64_t length);
/* A region was put at a place. */
void sim_world_placed(struct sim_world *world, uint32_t process, uint64_t vaddr, uint64_t length);

/* i-th name, for sim_nearest(): processes; regions of an mm */
const char *sim_world_process_name(const void *world, size_t i);
const char *sim_world_region_name(const void *mm, size_t i);

#endif
