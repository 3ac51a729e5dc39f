/*
 * soak.c - random operations for as long as one likes.
 *
 *	soak --seeds A..B --ops N [--world N] [--profile P] [--check-every N] [--print]
 *
 * Each seed runs N operations, in worlds of --world operations each, on all
 * profiles; a world is checked after every operation, and one in four is run
 * once more without the short cuts of the scan: it must end alike. The first
 * thing that is wrong ends the run: it prints the seed, the sentence, and the
 * last operations of its world as lines of a scenario. --print shows all
 * operations of the worlds (one seed, few operations), for a reproducer.
 */
#include "chaos.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST 20u

struct soak {
	uint64_t first, last, ops, world, check_every;
	const char *profile;
	bool print, plain; /* plain: without the short cuts of the scan */
	uint64_t state;	   /* of the generator */
	struct chaos chaos;
	struct chaos_op recent[LAST];
	uint64_t done, in_world;
};

static uint32_t draw(void *self, uint32_t below)
{
	struct soak *soak = self;
	uint64_t word = soak->state += UINT64_C(0x9E3779B97F4A7C15);

	word = (word ^ word >> 32) * UINT64_C(0xD6E8FEB86659FD93);
	word = (word ^ word >> 32) * UINT64_C(0xD6E8FEB86659FD93);
	return (uint32_t)(((word ^ word >> 32) >> 32) * below >> 32);
}

static void complain(const struct soak *soak, uint64_t seed)
{
	const uint64_t nr = soak->in_world < LAST ? soak->in_world : LAST;
	char line[CHAOS_LINE];

	printf("seed %" PRIu64 ", operation %" PRIu64 ", %" PRIu64
	       " of its world, %s, %u nodes: %s\n",
	       seed, soak->done, soak->in_world, soak->chaos.profile, soak->chaos.nr_nodes,
	       soak->chaos.fault);
	for (uint64_t i = soak->in_world - nr; i < soak->in_world; i++) {
		chaos_print(&soak->recent[i % LAST], line, sizeof(line));
		printf("%s\n", line);
	}
}

static bool one_operation(struct soak *soak)
{
	const bool good = chaos_step(&soak->chaos);
	char line[CHAOS_LINE];

	soak->recent[soak->in_world++ % LAST] = soak->chaos.op;
	soak->done++;
	if (soak->print) {
		chaos_print(&soak->chaos.op, line, sizeof(line));
		printf("%s\n", line);
	}
	if (good && soak->done % soak->check_every == 0)
		return chaos_check(&soak->chaos);
	return good;
}

static void print_machine(const struct soak *soak)
{
	char run[8] = "";

	ksmsim_sysfs_read(soak->chaos.sim, "ksm/run", run, sizeof(run), NULL);
	printf("# profile %s\nmachine nodes=%u\nksm run %s", soak->chaos.profile,
	       soak->chaos.nr_nodes, run);
}

static int begin_world(struct soak *soak)
{
	const struct chaos_source source = { draw, soak };
	int error;

	/* looking at every page costs as much as all the checks */
	soak->chaos.watch = draw(soak, 4) == 0;
	soak->in_world = 0;
	error = chaos_begin(&soak->chaos, source, soak->profile);
	if (!error && soak->plain)
		error = ksmsim_sysfs_write(soak->chaos.sim, "ksmsim/shortcuts", "0", 1, NULL);
	if (error)
		snprintf(soak->chaos.fault, sizeof(soak->chaos.fault), "a new machine: %s",
			 ksmsim_strerror(error));
	else if (soak->print)
		print_machine(soak);
	return error;
}

/* A world, from its machine's beginning to its end. @hash: of all that can be seen then. */
static bool one_world(struct soak *soak, uint64_t ops, uint64_t *hash)
{
	bool good = !begin_world(soak);

	while (good && soak->in_world < ops)
		good = one_operation(soak);
	return good && chaos_check(&soak->chaos) && !ksmsim_hash(soak->chaos.sim, hash) &&
	       chaos_finish(&soak->chaos);
}

/* The same world once more, without the short cuts of the scan: it must end alike. */
static bool same_in_plain(struct soak *soak, uint64_t ops, uint64_t state, uint64_t wanted)
{
	uint64_t hash = 0;
	bool good;

	soak->state = state;
	soak->done -= ops;
	soak->plain = true;
	good = one_world(soak, ops, &hash);
	soak->plain = false;
	if (good && hash != wanted)
		snprintf(soak->chaos.fault, sizeof(soak->chaos.fault),
			 "without short cuts the world ends differently");
	return good && hash == wanted;
}

static bool one_seed(struct soak *soak, uint64_t seed)
{
	bool good = true;

	soak->state = seed * UINT64_C(0x2545F4914F6CDD1D);
	soak->done = 0;
	while (good && soak->done < soak->ops) {
		const uint64_t left = soak->ops - soak->done, state = soak->state;
		const uint64_t ops = left < soak->world ? left : soak->world;
		uint64_t hash = 0;

		good = one_world(soak, ops, &hash);
		if (good && state % 4 == 0 && !soak->print) {
			chaos_end(&soak->chaos);
			good = same_in_plain(soak, ops, state, hash);
		}
		if (!good)
			complain(soak, seed);
		chaos_end(&soak->chaos);
	}
	return good;
}

static bool parse_seeds(struct soak *soak, const char *text)
{
	char *end;

	soak->first = soak->last = strtoull(text, &end, 10);
	if (end != text && end[0] == '.' && end[1] == '.')
		soak->last = strtoull(end + 2, &end, 10);
	return end != text && !*end && soak->first <= soak->last;
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end;

	*value = strtoull(text, &end, 10);
	return end != text && !*end && *value;
}

static bool parse_arguments(struct soak *soak, int argc, char **argv)
{
	bool good = true;
	int i;

	for (i = 1; good && i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--print")) {
			soak->print = true;
			continue;
		}
		if (!strcmp(argv[i], "--seeds"))
			good = parse_seeds(soak, value);
		else if (!strcmp(argv[i], "--ops"))
			good = parse_number(value, &soak->ops);
		else if (!strcmp(argv[i], "--world"))
			good = parse_number(value, &soak->world);
		else if (!strcmp(argv[i], "--check-every"))
			good = parse_number(value, &soak->check_every);
		else if (!strcmp(argv[i], "--profile"))
			soak->profile = value;
		else
			good = false;
		i++;
	}
	return good;
}

int main(int argc, char **argv)
{
	static struct soak soak = {
		.first = 1, .last = 4, .ops = 5000, .world = 400, .check_every = 1
	};
	uint64_t seed;

	if (!parse_arguments(&soak, argc, argv)) {
		fprintf(stderr, "usage: soak [--seeds A..B] [--ops N] [--world N] [--profile P] "
				"[--check-every N] [--print]\n");
		return 2;
	}
	for (seed = soak.first; seed <= soak.last; seed++) {
		if (!one_seed(&soak, seed))
			return 1;
		if (seed % 50 == 0)
			fprintf(stderr, "soak: done with seed %" PRIu64 "\n", seed);
	}
	printf("soak: seeds %" PRIu64 "..%" PRIu64 ", %" PRIu64 " operations each, clean\n",
	       soak.first, soak.last, soak.ops);
	return 0;
}
