/*
 * paste.c - readings of hosts from texts; see paste.h.
 */
#include "paste.h"

#include <stdio.h>
#include <stdlib.h>

struct world *paste_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	sim_mem_init(&w->mem, NULL);
	host_init(&w->first, &w->mem, 4096);
	host_init(&w->second, &w->mem, 4096);
	return w;
}

void paste_free(struct world *w)
{
	doctor_free(&w->doctor);
	host_free(&w->first);
	host_free(&w->second);
	free(w);
}

int paste_enter(void **state)
{
	*state = paste_new();
	return 0;
}

int paste_leave(void **state)
{
	paste_free(*state);
	return 0;
}

int paste_named(struct world *w, struct host *host, const char *name, const char *text)
{
	FILE *in = tmpfile();
	int error;

	assert_non_null(in);
	fputs(text, in);
	rewind(in);
	w->why[0] = '\0';
	error = host_text_read(host, in, name, w->why, sizeof(w->why));
	fclose(in);
	return error;
}

void paste(struct world *w, const char *text)
{
	if (paste_named(w, &w->first, "F", text))
		fail_msg("%s", w->why);
}
