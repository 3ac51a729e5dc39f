/*
 * test.h - what every test program includes, first and only.
 *
 * CMocka wants stdarg, stddef, stdint and setjmp before it. A test program
 * lists its tests in a static array and ends with TEST_MAIN(that array).
 */
#ifndef KSMSIM_TEST_H
#define KSMSIM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEST_MAIN(tests)                                            \
	int main(void)                                              \
	{                                                           \
		return cmocka_run_group_tests((tests), NULL, NULL); \
	}

/* A generator of the tests' own, so that a test does not depend on ks_chance(). */
static inline uint64_t test_random(uint64_t *state)
{
	uint64_t word = *state += UINT64_C(0x9E3779B97F4A7C15);

	word = (word ^ word >> 32) * UINT64_C(0xD6E8FEB86659FD93);
	word = (word ^ word >> 32) * UINT64_C(0xD6E8FEB86659FD93);
	return word ^ word >> 32;
}

/* Uniform enough: in [0, below). */
static inline uint32_t test_random_below(uint64_t *state, uint32_t below)
{
	return (uint32_t)((test_random(state) >> 32) * below >> 32);
}

#endif
