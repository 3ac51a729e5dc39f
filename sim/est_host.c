/*
 * est_host.c - what a capture says of its host: which kernel, how its knobs were.
 *
 * The first capture counts. An import says nothing of a host: then the model's own
 * defaults remain.
 */
#include <stdlib.h>
#include <string.h>

#include "est_parts.h"
#include "vector.h"

#define SYS "sys/"
#define SYS_BYTES (sizeof(SYS) - 1)

/* Files of the knobs that a run of the model sees; advisor_mode after what it overrules. */
static const char *const knob_files[] = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) file,
#include "ksmsim/knobs.def"
};

static bool is_played(const char *file)
{
	return !strncmp(file, "ksm/", 4) && strcmp(file, "ksm/run") != 0;
}

/* A copy; "[none] scan-time" is "none" */
static char *chosen(const char *value)
{
	const char *open = strchr(value, '['), *close = open ? strchr(open, ']') : NULL;

	return close ? strndup(open + 1, (size_t)(close - open - 1)) : strdup(value);
}

static int add_knob(struct est_image *image, const struct sim_capfile *file, const char *name)
{
	char key[EST_NAME_BYTES * 2];
	struct sim_setting *knob;
	const char *value;

	snprintf(key, sizeof(key), SYS "%s", name);
	value = sim_capfile_meta(file, key);
	if (!value)
		return 0;
	knob = sim_vector_add(&image->knobs, &image->nr_knobs, sizeof(*knob));
	if (!knob)
		return est_no_memory(image);
	knob->name = name;
	knob->value = chosen(value);
	return knob->value ? 0 : est_no_memory(image);
}

int est_host_add(struct est_image *image, const struct sim_capfile *file)
{
	const char *kernel = sim_capfile_meta(file, SIM_CAP_META_KERNEL);
	const char *host = sim_capfile_meta(file, SIM_CAP_META_HOST);
	const bool keyed = sim_capfile_is(file, SIM_CAP_META_PRINTS, "xxh3-128-keyed");
	const bool foreign = sim_capfile_is(file, SIM_CAP_META_PRINTS, "foreign");
	size_t i;
	int error = 0;

	if (image->nr_processes && (image->keyed || keyed || image->foreign != foreign))
		return est_fail(image, SIM_EINPUT,
				"fingerprints of these captures cannot be compared: one has a key, "
				"or hashes of another kind");
	image->keyed = keyed;
	image->foreign = foreign;
	if (image->probe.profile)
		return 0;
	if (kernel && *kernel)
		snprintf(image->kernel, sizeof(image->kernel), "%s", kernel);
	if (host && *host)
		snprintf(image->host, sizeof(image->host), "%s", host);
	/* no root of files: what a capture does not tell is as the profile has it */
	sim_probe(&image->probe, *image->kernel ? image->kernel : "6.18", NULL);
	for (i = 0; !error && i < sizeof(knob_files) / sizeof(*knob_files); i++)
		if (is_played(knob_files[i]))
			error = add_knob(image, file, knob_files[i]);
	return error;
}

void est_host_free(struct est_image *image)
{
	size_t i;

	for (i = 0; i < image->nr_knobs; i++)
		free((char *)(uintptr_t)image->knobs[i].value);
	free(image->knobs);
}
