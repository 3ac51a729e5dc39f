/*
 * vector.h - arrays that grow, from malloc(), to be freed with free().
 */
#ifndef SIM_VECTOR_H
#define SIM_VECTOR_H

#include <stddef.h>

/**
 * sim_vector_add() - room for one more element, zeroed, at the end
 * @vector: the address of the array's pointer; NULL at first
 * @nr: counts the elements; one more after this
 * Returns: the element; NULL if there is no memory, and nothing has changed.
 */
void *sim_vector_add(void *vector, size_t *nr, size_t bytes);

#endif
