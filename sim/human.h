/*
 * human.h - figures as people read them.
 *
 * The short forms return a value, so that several fit into one printf:
 *
 *	printf("%s of %s pages", sim_count(a).text, sim_count(b).text);
 */
#ifndef SIM_HUMAN_H
#define SIM_HUMAN_H

#include <stdint.h>

#define SIM_HUMAN_BYTES 40

/* "1,234,567" */
const char *sim_grouped(char buf[SIM_HUMAN_BYTES], int64_t value);
/* "10.58 ms" */
const char *sim_duration(char buf[SIM_HUMAN_BYTES], uint64_t ns);

struct sim_human {
	char text[SIM_HUMAN_BYTES];
};

struct sim_human sim_count(int64_t value);
/* "19.3 GiB"; can be negative */
struct sim_human sim_bytes(int64_t bytes);
/* "56 min 4 s": for what people wait for */
struct sim_human sim_wait(uint64_t ms);
/* "1.25": value in hundredths */
struct sim_human sim_hundredths(uint64_t value);

#endif
