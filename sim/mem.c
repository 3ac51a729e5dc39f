/*
 * mem.c - host memory of a run, growing text and a small map.
 *
 * Every allocation has a 16-byte header with its size, because the allocators
 * of the library want the size back.
 *
 *	| size | payload ... |
 *
 * The map probes linearly and closes the gap at a deletion, so it never fills
 * up with marks of what has gone.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define HEADER_BYTES 16u

static void *host_alloc(void *self, size_t bytes)
{
	(void)self;
	return calloc(1, bytes);
}

static void host_free(void *self, void *ptr, size_t bytes)
{
	(void)self;
	(void)bytes;
	free(ptr);
}

void sim_mem_init(struct sim_mem *mem, const struct ksmsim_allocator *allocator)
{
	static const struct ksmsim_allocator host = { host_alloc, host_free, NULL };

	mem->host = allocator ? *allocator : host;
}

static size_t size_of(const void *ptr)
{
	size_t bytes;

	memcpy(&bytes, (const char *)ptr - HEADER_BYTES, sizeof(bytes));
	return bytes;
}

void *sim_alloc(struct sim_mem *mem, size_t bytes)
{
	char *ptr;

	if (bytes > SIZE_MAX - HEADER_BYTES)
		return NULL;
	ptr = mem->host.alloc(mem->host.self, bytes + HEADER_BYTES);
	if (!ptr)
		return NULL;
	memcpy(ptr, &bytes, sizeof(bytes));
	return ptr + HEADER_BYTES;
}

void *sim_resize(struct sim_mem *mem, void *ptr, size_t bytes)
{
	void *new = sim_alloc(mem, bytes);

	if (!new || !ptr)
		return new;
	memcpy(new, ptr, size_of(ptr) < bytes ? size_of(ptr) : bytes);
	sim_free(mem, ptr);
	return new;
}

void sim_free(struct sim_mem *mem, void *ptr)
{
	if (ptr)
		mem->host.free(mem->host.self, (char *)ptr - HEADER_BYTES,
			       size_of(ptr) + HEADER_BYTES);
}

bool sim_grow(struct sim_mem *mem, void *array, size_t *capacity, size_t nr, size_t bytes)
{
	size_t more = *capacity ? *capacity * 2 : 8;
	void *old, *new;

	if (nr < *capacity)
		return true;
	if (more > SIZE_MAX / 2 / bytes)
		return false;
	memcpy(&old, array, sizeof(old));
	new = sim_resize(mem, old, more * bytes);
	if (!new)
		return false;
	memcpy(array, &new, sizeof(new));
	*capacity = more;
	return true;
}

/* ---- text ---- */

static bool reserve(struct sim_buf *buf, size_t more)
{
	size_t capacity = buf->capacity ? buf->capacity : 64;
	char *text;

	if (buf->failed || more > SIZE_MAX / 4 - buf->length) {
		buf->failed = true;
		return false;
	}
	while (capacity < buf->length + more + 1)
		capacity *= 2;
	if (capacity == buf->capacity)
		return true;
	text = sim_resize(buf->mem, buf->text, capacity);
	if (!text) {
		buf->failed = true;
		return false;
	}
	buf->text = text;
	buf->capacity = capacity;
	return true;
}

void sim_buf_put(struct sim_buf *buf, const char *bytes, size_t length)
{
	if (!reserve(buf, length))
		return;
	memcpy(buf->text + buf->length, bytes, length);
	buf->length += length;
	buf->text[buf->length] = '\0';
}

void sim_buf_vprintf(struct sim_buf *buf, const char *format, va_list args)
{
	va_list again;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (length < 0) {
		buf->failed = true;
		return;
	}
	if (!reserve(buf, (size_t)length))
		return;
	vsnprintf(buf->text + buf->length, (size_t)length + 1, format, args);
	buf->length += (size_t)length;
}

void sim_buf_printf(struct sim_buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	sim_buf_vprintf(buf, format, args);
	va_end(args);
}

void sim_buf_clear(struct sim_buf *buf)
{
	buf->length = 0;
	if (buf->text)
		buf->text[0] = '\0';
}

void sim_buf_free(struct sim_buf *buf)
{
	sim_free(buf->mem, buf->text);
	buf->text = NULL;
	buf->length = buf->capacity = 0;
}

/* ---- map ---- */

static size_t slot_of(const struct sim_map *map, uint64_t key)
{
	uint64_t h = key * 0x9e3779b97f4a7c15u;

	return (size_t)(h ^ (h >> 29)) & (map->capacity - 1);
}

static struct sim_map_slot *find(const struct sim_map *map, uint64_t key)
{
	size_t i = slot_of(map, key);

	while (map->slots[i].value && map->slots[i].key != key)
		i = (i + 1) & (map->capacity - 1);
	return &map->slots[i];
}

uint64_t sim_map_get(const struct sim_map *map, uint64_t key)
{
	return map->capacity ? find(map, key)->value : 0;
}

static bool map_grow(struct sim_mem *mem, struct sim_map *map)
{
	struct sim_map old = *map;
	size_t i;

	map->capacity = old.capacity ? old.capacity * 2 : 64;
	map->slots = sim_alloc(mem, map->capacity * sizeof(*map->slots));
	if (!map->slots) {
		*map = old;
		return false;
	}
	for (i = 0; i < old.capacity; i++)
		if (old.slots[i].value)
			*find(map, old.slots[i].key) = old.slots[i];
	sim_free(mem, old.slots);
	return true;
}

bool sim_map_set(struct sim_mem *mem, struct sim_map *map, uint64_t key, uint64_t value)
{
	struct sim_map_slot *slot;

	if ((map->nr + 1) * 4 > map->capacity * 3 && !map_grow(mem, map))
		return false;
	slot = find(map, key);
	if (!slot->value)
		map->nr++;
	slot->key = key;
	slot->value = value;
	return true;
}

void sim_map_delete(struct sim_map *map, uint64_t key)
{
	size_t hole, i, home;

	if (!sim_map_get(map, key))
		return;
	hole = (size_t)(find(map, key) - map->slots);
	map->nr--;
	for (i = (hole + 1) & (map->capacity - 1); map->slots[i].value;
	     i = (i + 1) & (map->capacity - 1)) {
		home = slot_of(map, map->slots[i].key);
		/* an entry may move up only to a place at or behind its home */
		if (((i - home) & (map->capacity - 1)) < ((i - hole) & (map->capacity - 1)))
			continue;
		map->slots[hole] = map->slots[i];
		hole = i;
	}
	map->slots[hole].value = 0;
}

void sim_map_free(struct sim_mem *mem, struct sim_map *map)
{
	sim_free(mem, map->slots);
	memset(map, 0, sizeof(*map));
}
