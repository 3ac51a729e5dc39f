/*
 * launch.c - run a program all of whose memory KSM may merge: launch PROGRAM [ARGUMENT...]
 *
 * prctl(PR_SET_MEMORY_MERGE) stays through execve() since Linux 6.7.
 */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: launch PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)) {
		perror("launch: prctl(PR_SET_MEMORY_MERGE)");
		return 77;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 2;
}
