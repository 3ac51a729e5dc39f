/*
 * output.h - files that appear under their name only when they are complete.
 *
 * Every file that a command writes under a name of the user's goes through here.
 */
#ifndef SIM_OUTPUT_H
#define SIM_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

struct cli_output {
	FILE *file;
	const char *path;
	bool unnamed;	 /* the file has no name yet */
	char *temporary; /* the name that it has instead of path; NULL: none */
};

/**
 * cli_output_open() - begin to write @path
 * @path: must stay until commit or drop; what is there now stays until the commit. A device
 * or a pipe is written in place.
 * Returns: false if a message was printed.
 */
bool cli_output_open(struct cli_output *output, const char *path);
bool cli_output_commit(struct cli_output *output);
/* Also right after a commit and for one that was never opened. */
void cli_output_drop(struct cli_output *output);

#endif
