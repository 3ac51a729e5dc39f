/*
 * fuzz_ops.c - libFuzzer: bytes choose operations over the public interface.
 *
 * The world is that of chaos.h; a byte is a choice (two, if there are more than
 * 256 to choose from). All invariants are tested every few operations and at
 * the end. An input is over with its bytes, so none takes long.
 */
#include "chaos.h"

#include <stdio.h>
#include <stdlib.h>

#define OPERATIONS 400u
#define CHECK_EVERY 8u

struct input {
	const uint8_t *data;
	size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t take(struct input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->data++;
}

static uint32_t choose(void *self, uint32_t below)
{
	struct input *input = self;
	uint32_t value = take(input);

	if (below > 256)
		value = value << 8 | take(input);
	return value % below;
}

static void complain(const struct chaos *chaos)
{
	char line[CHAOS_LINE];

	chaos_print(&chaos->op, line, sizeof(line));
	fprintf(stderr, "%s, after '%s' as %s\n", chaos->fault, line, chaos->profile);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	const struct chaos_source source = { choose, &input };
	static struct chaos chaos;
	unsigned nr = 0;

	chaos.watch = size && data[0] & 64; /* as slow as all the rest */
	if (chaos_begin(&chaos, source, NULL))
		abort();
	while (input.left && nr++ < OPERATIONS) {
		if (!chaos_step(&chaos) || (nr % CHECK_EVERY == 0 && !chaos_check(&chaos)))
			complain(&chaos);
	}
	chaos.watch = false;
	if (!chaos_check(&chaos) || !chaos_finish(&chaos))
		complain(&chaos);
	chaos_end(&chaos);
	return 0;
}
