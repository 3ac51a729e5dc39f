/*
 * human.c - figures as people read them.
 *
 * Everything is cut, not rounded, and made with integers: the same figure has the
 * same text on every machine and in every locale.
 */
#include <inttypes.h>
#include <stdio.h>

#include "human.h"

const char *sim_grouped(char buf[SIM_HUMAN_BYTES], int64_t value)
{
	char digits[24];
	const char *in = digits;
	char *out = buf;
	size_t left = (size_t)snprintf(digits, sizeof(digits), "%" PRId64, value);

	if (*in == '-') {
		*out++ = *in++;
		left--;
	}
	for (; left; left--) {
		*out++ = *in++;
		if (left % 3 == 1 && left > 1)
			*out++ = ',';
	}
	*out = '\0';
	return buf;
}

const char *sim_duration(char buf[SIM_HUMAN_BYTES], uint64_t ns)
{
	if (ns < 1000)
		snprintf(buf, SIM_HUMAN_BYTES, "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		snprintf(buf, SIM_HUMAN_BYTES, "%" PRIu64 ".%02" PRIu64 " us", ns / 1000,
			 ns % 1000 / 10);
	else if (ns < 1000000000u)
		snprintf(buf, SIM_HUMAN_BYTES, "%" PRIu64 ".%02" PRIu64 " ms", ns / 1000000,
			 ns % 1000000 / 10000);
	else
		snprintf(buf, SIM_HUMAN_BYTES, "%" PRIu64 ".%02" PRIu64 " s", ns / 1000000000u,
			 ns % 1000000000u / 10000000u);
	return buf;
}

struct sim_human sim_count(int64_t value)
{
	struct sim_human human;

	sim_grouped(human.text, value);
	return human;
}

struct sim_human sim_bytes(int64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	const uint64_t size = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;
	const char *sign = bytes < 0 ? "-" : "";
	struct sim_human human;
	unsigned unit = 0;
	uint64_t kib = size, rest = 0;

	if (size < 1024) {
		snprintf(human.text, sizeof(human.text), "%s%" PRIu64 " bytes", sign, size);
		return human;
	}
	for (; kib >= 1024; kib /= 1024) {
		rest = kib % 1024;
		unit++;
	}
	snprintf(human.text, sizeof(human.text), "%s%" PRIu64 ".%" PRIu64 " %s", sign, kib,
		 rest * 10 / 1024, units[unit - 1]);
	return human;
}

struct sim_human sim_wait(uint64_t ms)
{
	const uint64_t s = ms / 1000, min = s / 60, h = min / 60;
	struct sim_human human;

	if (ms < 1000)
		snprintf(human.text, sizeof(human.text), "%" PRIu64 " ms", ms);
	else if (s < 60)
		snprintf(human.text, sizeof(human.text), "%" PRIu64 ".%" PRIu64 " s", s,
			 ms % 1000 / 100);
	else if (h < 1)
		snprintf(human.text, sizeof(human.text), "%" PRIu64 " min %" PRIu64 " s", min,
			 s % 60);
	else if (h < 48)
		snprintf(human.text, sizeof(human.text), "%" PRIu64 " h %" PRIu64 " min", h,
			 min % 60);
	else
		snprintf(human.text, sizeof(human.text), "%" PRIu64 " days %" PRIu64 " h", h / 24,
			 h % 24);
	return human;
}

struct sim_human sim_hundredths(uint64_t value)
{
	struct sim_human human;

	snprintf(human.text, sizeof(human.text), "%" PRIu64 ".%02" PRIu64, value / 100,
		 value % 100);
	return human;
}
