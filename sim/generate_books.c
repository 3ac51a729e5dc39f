/*
 * generate_books.c - chance, lines, processes and regions of a random scenario.
 *
 * The books hold what was asked for, not what came of it: a region stands in them
 * whether or not the kernel made it. Everything comes from the seed, and every draw
 * moves the ones after it: leaving one out changes what all seeds mean. So there is
 * never more than one draw among the arguments of a call, whose order is the
 * compiler's.
 */
#include <stdarg.h>
#include <stdio.h>

#include "generate_books.h"

#define LINE_BYTES 160u

/* ---- chance ---- */

static uint32_t draw(struct gen *g)
{
	uint64_t word = g->state += UINT64_C(0x9E3779B97F4A7C15);

	word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return (uint32_t)((word ^ word >> 31) >> 32);
}

unsigned gen_below(struct gen *g, unsigned nr)
{
	const uint32_t word = draw(g);

	return g->kind->scaled ? (unsigned)((uint64_t)word * nr >> 32) : word % nr;
}

bool gen_chance(struct gen *g, unsigned one_in)
{
	return gen_below(g, one_in) == 0;
}

/* ---- lines ---- */

void gen_say(struct gen *g, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (json_array_append_new(g->lines, json_string(text)))
		g->failed = true;
}

json_t *gen_lines(struct gen *g, uint64_t nr, void (*any_op)(struct gen *g))
{
	while (!g->failed && json_array_size(g->lines) < nr)
		any_op(g);
	if (!g->failed)
		return g->lines;
	json_decref(g->lines);
	return NULL;
}

/* ---- processes ---- */

unsigned gen_any_process(struct gen *g)
{
	unsigned left = gen_below(g, g->nr_alive), i;

	for (i = 0; !g->processes[i].alive || left--; i++)
		;
	return i;
}

bool gen_any_region(struct gen *g, unsigned tries, unsigned *process, struct gen_region **region)
{
	while (tries--) {
		struct gen_process *any = &g->processes[ *process = gen_any_process(g)];

		if (!any->nr)
			continue;
		*region = &any->regions[gen_below(g, any->nr)];
		return true;
	}
	return false;
}

unsigned gen_new_region(struct gen *g, struct gen_process *process, unsigned pages, bool hidden)
{
	process->regions[process->nr++] = (struct gen_region){ g->next_region, pages, hidden };
	return g->next_region++;
}

static bool full(const struct gen *g)
{
	return g->nr_alive >= g->kind->alive || g->nr_processes >= g->kind->ever;
}

bool gen_proc(struct gen *g)
{
	if (full(g))
		return false;
	g->processes[g->nr_processes] = (struct gen_process){ .alive = true };
	gen_say(g, "proc P%u", g->nr_processes++);
	g->nr_alive++;
	return true;
}

void gen_fork(struct gen *g)
{
	const unsigned p = gen_any_process(g);

	if (full(g))
		return;
	g->processes[g->nr_processes] = g->processes[p];
	gen_say(g, "fork P%u P%u", p, g->nr_processes++);
	g->nr_alive++;
}

void gen_exit(struct gen *g)
{
	const unsigned p = gen_any_process(g);

	if (g->nr_alive == 1)
		return;
	g->processes[p].alive = false;
	g->nr_alive--;
	gen_say(g, "exit P%u", p);
}

void gen_exec(struct gen *g)
{
	const unsigned p = gen_any_process(g);

	g->processes[p].nr = 0;
	gen_say(g, "exec P%u", p);
}
