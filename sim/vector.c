/*
 * vector.c - arrays that grow.
 *
 * There is no capacity: a number of elements that is a power of two means that the
 * array is full.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

void *sim_vector_add(void *vector, size_t *nr, size_t bytes)
{
	const size_t capacity = *nr ? 2 * *nr : 1;
	void *array, *grown;

	memcpy(&array, vector, sizeof(array));
	if (!(*nr & (*nr - 1))) {
		grown = capacity > SIZE_MAX / 2 / bytes ? NULL : realloc(array, capacity * bytes);
		if (!grown)
			return NULL;
		array = grown;
		memcpy(vector, &array, sizeof(array));
	}
	return memset((char *)array + (*nr)++ * bytes, 0, bytes);
}
