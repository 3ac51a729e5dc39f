/*
 * machine.h - floor 8: one machine, all floors wired.
 *
 * Rooms: machine.c (life, time), calls.c and access_calls.c (the system calls
 * and memory accesses of the public interface), calls_thp.c (the calls about huge pages), sysfs.c
 * and sysfs_thp.c (files below /sys/kernel/mm), view*.c (what can be seen),
 * check.c (invariants, dump, hash), tables.c (the tables as rows).
 */
#ifndef KS_MACHINE_H
#define KS_MACHINE_H

#include "pacing.h"
#include "policy.h"

struct ks_process {
	uint32_t mm; /* id of its mm, also after exit */
	bool alive;
};

struct ksmsim {
	struct ks_env env;
	struct ks_system sys;
	struct ks_policies policies;
	struct ks_ksm ksm;
	struct ks_khugepaged khugepaged;
	struct ks_advisor advisor;
	struct ks_ksmd ksmd;
	struct ks_process *processes; /* [pid], pid from 1 */
	uint32_t nr_processes, room_processes;
};

/*
 * Every public function that can allocate or ring a listener runs its body in
 * here: ks_fail() comes back to it, and it returns the machine's error.
 */
int ks_machine_run(struct ksmsim *sim, int (*body)(struct ksmsim *sim, void *args), void *args);

/* 0, or why no function but ksmsim_free() may be called now */
int ks_machine_refuses(const struct ksmsim *sim);
/* The mm of a living process, or NULL. */
struct ks_mm *ks_machine_mm(const struct ksmsim *sim, uint32_t pid);
/* Row of a table by name, or -1. */
int ks_table_find(enum ksmsim_table table, const char *name);

/* sysfs_thp.c: knobs that depend on the geometry get their defaults */
void ks_thp_defaults(struct ksmsim *sim);

#endif
