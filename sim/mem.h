/*
 * mem.h - host memory of a run, growing text and a small map.
 *
 * One allocator for all, so that a test can make any allocation fail. Nothing
 * here aborts: NULL or `failed` says that there was no memory.
 */
#ifndef SIM_MEM_H
#define SIM_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ksmsim.h"

struct sim_mem {
	struct ksmsim_allocator host;
};

/* allocator NULL: the C library's */
void sim_mem_init(struct sim_mem *mem, const struct ksmsim_allocator *allocator);
void *sim_alloc(struct sim_mem *mem, size_t bytes); /* zeroed */
/* Growth is zeroed; NULL leaves @ptr as it was. */
void *sim_resize(struct sim_mem *mem, void *ptr, size_t bytes);
void sim_free(struct sim_mem *mem, void *ptr);

/**
 * sim_grow() - make room for one more element of a vector
 * @array: the address of the vector's pointer
 * Returns: false if there is no memory; nothing has changed then.
 */
bool sim_grow(struct sim_mem *mem, void *array, size_t *capacity, size_t nr, size_t bytes);

/* Text that grows; @failed sticks when memory ran out. */
struct sim_buf {
	struct sim_mem *mem;
	char *text; /* terminated; never NULL for a reader: use sim_buf_text() */
	size_t length, capacity;
	bool failed;
};

void sim_buf_put(struct sim_buf *buf, const char *bytes, size_t length);
void sim_buf_vprintf(struct sim_buf *buf, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
void sim_buf_printf(struct sim_buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void sim_buf_clear(struct sim_buf *buf);
void sim_buf_free(struct sim_buf *buf);
static inline const char *sim_buf_text(const struct sim_buf *buf)
{
	return buf->text ? buf->text : "";
}

/* uint64_t key -> index; open addressing, its order is never used. */
struct sim_map {
	struct sim_map_slot {
		uint64_t key;
		uint64_t value; /* 0: empty */
	} * slots;
	size_t capacity, nr;
};

/* 0 if absent */
uint64_t sim_map_get(const struct sim_map *map, uint64_t key);
/* value > 0. Returns: false if there is no memory. */
bool sim_map_set(struct sim_mem *mem, struct sim_map *map, uint64_t key, uint64_t value);
void sim_map_delete(struct sim_map *map, uint64_t key);
void sim_map_free(struct sim_mem *mem, struct sim_map *map);

#endif
