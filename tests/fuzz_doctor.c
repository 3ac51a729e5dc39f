/*
 * fuzz_doctor.c - libFuzzer: bytes are two pastes about a host.
 *
 * The first byte chooses: page size, whether the lists of processes are complete,
 * whether there is a second reading. The pastes are separated by a byte 0xff. What
 * can be read is examined and printed both ways; what cannot must be refused with
 * a sentence that names its line.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/doctor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* false: refused */
static bool read_paste(struct host *host, const uint8_t *text, size_t size)
{
	char why[256] = "";
	FILE *in;
	int error;

	if (!size)
		return true;
	in = fmemopen((void *)(uintptr_t)text, size, "r");
	if (!in)
		abort();
	error = host_text_read(host, in, "input", why, sizeof(why));
	fclose(in);
	if (error && (error != SIM_EINPUT || strncmp(why, "input:", 6) != 0))
		abort();
	if (error && (strlen(why) > 250 || why[strlen(why) - 1] == ' '))
		abort();
	return !error;
}

static void examine(struct doctor *doctor, FILE *sink)
{
	if (doctor_examine(doctor))
		abort();
	doctor_print(doctor, "input", sink);
	if (!doctor_json(doctor, "input", sink))
		abort();
	doctor_free(doctor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *second;
	FILE *sink = fopen("/dev/null", "w");
	struct host host, before;
	struct sim_mem mem;

	if (!size || !sink) {
		if (sink)
			fclose(sink);
		return 0;
	}
	sim_mem_init(&mem, NULL);
	host_init(&host, &mem, data[0] & 1 ? 65536 : 4096);
	host_init(&before, &mem, host.page);
	second = memchr(data + 1, 0xff, size - 1);
	if (read_paste(&host, data + 1, (size_t)((second ? second : end) - data - 1)) &&
	    (!second || read_paste(&before, second + 1, (size_t)(end - second - 1)))) {
		host.all_processes = data[0] & 2;
		host.quiet = data[0] & 4;
		examine(&(struct doctor){ .mem = &mem,
					  .now = &host,
					  .before = second ? &before : NULL,
					  .interval_ms = 10000 },
			sink);
	}
	host_free(&host);
	host_free(&before);
	fclose(sink);
	return 0;
}
