/*
 * memory.h - floors 1 and 2 alone: memory, contents and nothing that maps them.
 */
#ifndef TEST_MEMORY_H
#define TEST_MEMORY_H

#include "lru.h"

#define PMD 9u
#define NR (1u << PMD)

struct memory {
	struct ks_env env;
	struct ks_contents contents;
	struct ks_frames frames;
	jmp_buf out;
};

/* two nodes; host out of memory is not caught */
struct memory *memory_new(enum ks_profile profile);
void memory_check(struct memory *w);
/* With everything unmapped nothing may be left. */
void memory_free(struct memory *w);

#endif
