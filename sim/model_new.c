/*
 * model_new.c - a model as the options say: profile, geometry, features, costs, knobs.
 *
 * A name that is in no table is refused with the nearest one. A knob is written as the
 * scenario would write it, so what the kernel refuses is refused here, too.
 */
#include <string.h>

#include "model_parts.h"

/* ---- options ---- */

static int unknown(const char *what, const char *name, enum ksmsim_table table, char *buf,
		   size_t size)
{
	const char *guess = sim_nearest(name, strlen(name), sim_table_name, &table);

	snprintf(buf, size, "unknown %s '%s'%s%s%s", what, name, guess ? "; did you mean '" : "",
		 guess ? guess : "", guess ? "'?" : "");
	return SIM_EINPUT;
}

static bool in_table(enum ksmsim_table table, const char *name)
{
	const char *row;
	size_t i;

	for (i = 0; (row = sim_table_name(&table, i)) != NULL; i++)
		if (!strcmp(row, name))
			return true;
	return false;
}

static int set_feature(struct model *model, const struct sim_setting *set, char *buf, size_t size)
{
	const bool on = !strcmp(set->value, "1");

	if (!on && strcmp(set->value, "0")) {
		snprintf(buf, size, "feature %s: '%s' is neither 0 nor 1", set->name, set->value);
		return SIM_EINPUT;
	}
	if (!in_table(KSMSIM_TABLE_FEATURES, set->name))
		return unknown("feature", set->name, KSMSIM_TABLE_FEATURES, buf, size);
	return ksmsim_feature_set(model->sim, set->name, on);
}

static int set_cost(struct model *model, const struct sim_setting *set, char *buf, size_t size)
{
	const struct sim_word word = { set->value, strlen(set->value) };
	const char *wrong;
	uint64_t ns;

	wrong = sim_word_number(word, &ns);
	if (wrong) {
		snprintf(buf, size, "cost %s: '%s' %s", set->name, set->value, wrong);
		return SIM_EINPUT;
	}
	if (!in_table(KSMSIM_TABLE_COSTS, set->name))
		return unknown("cost", set->name, KSMSIM_TABLE_COSTS, buf, size);
	return ksmsim_cost_set(model->sim, set->name, ns);
}

static int set_knob(struct model *model, const struct sim_setting *set, char *buf, size_t size)
{
	const char *file = sim_file_of((struct sim_word){ set->name, strlen(set->name) });
	const char *name;
	int64_t result = 0;
	int error;

	if (!file)
		return unknown("knob", set->name, KSMSIM_TABLE_KNOBS, buf, size);
	error = model_write(model, file, set->value, &result);
	if (error || result >= 0)
		return error;
	name = sim_errno_name(-result);
	if (name && !strcmp(name, "ENOENT")) {
		snprintf(buf, size, "%s has no knob %s", model->profile, set->name);
		return SIM_EINPUT;
	}
	snprintf(buf, size, "knob %s: writing '%s' gives %s", set->name, set->value,
		 name ? name : "an error");
	return SIM_EINPUT;
}

static int apply_options(struct model *model, const struct sim_options *options, char *buf,
			 size_t size)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < options->nr_features; i++)
		error = set_feature(model, &options->features[i], buf, size);
	for (i = 0; !error && i < options->nr_costs; i++)
		error = set_cost(model, &options->costs[i], buf, size);
	for (i = 0; !error && i < options->nr_knobs; i++)
		error = set_knob(model, &options->knobs[i], buf, size);
	return error;
}

/* ---- a new one ---- */

static int check_names(const struct sim_options *options, char *buf, size_t size)
{
	if (options->profile && !in_table(KSMSIM_TABLE_PROFILES, options->profile))
		return unknown("profile", options->profile, KSMSIM_TABLE_PROFILES, buf, size);
	if (options->geometry && !in_table(KSMSIM_TABLE_GEOMETRIES, options->geometry))
		return unknown("geometry", options->geometry, KSMSIM_TABLE_GEOMETRIES, buf, size);
	return 0;
}

static uint64_t page_of(const char *geometry)
{
	static const struct {
		const char *name;
		unsigned shift;
	} rows[] = {
#define GEOMETRY(id, name, page_shift, user_va_bits, levels, b0, b1, b2, b3, b4) \
	{ name, page_shift },
#include "ksmsim/geometries.def"
	};
	size_t i;

	for (i = 0; geometry && i < sizeof(rows) / sizeof(*rows); i++)
		if (!strcmp(rows[i].name, geometry))
			return (uint64_t)1 << rows[i].shift;
	return (uint64_t)1 << rows[0].shift;
}

int sim_model_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		  struct sim_backend **out)
{
	const struct ksmsim_config config = { .profile = options->profile,
					      .geometry = options->geometry,
					      .seed = options->seed,
					      .nr_nodes = options->nodes,
					      .allocator = options->allocator };
	struct model *model;
	int error = check_names(options, buf, size);

	if (error)
		return error;
	model = sim_alloc(mem, sizeof(*model));
	if (!model) {
		snprintf(buf, size, "%s", ksmsim_strerror(KSMSIM_ENOMEM));
		return KSMSIM_ENOMEM;
	}
	model->backend.ops = &model_ops;
	model->mem = mem;
	model->profile = options->profile ? options->profile : "linux-6.18";
	model->page = page_of(options->geometry);
	/* a table fills a page, 8 bytes an entry */
	model->pmd_order = (unsigned)__builtin_ctzll(model->page / 8);
	error = ksmsim_new(&config, &model->sim);
	if (error == 0)
		error = apply_options(model, options, buf, size);
	if (error) {
		if (error != SIM_EINPUT)
			snprintf(buf, size, "%s", ksmsim_strerror(error));
		model_ops.free(&model->backend);
		return error;
	}
	*out = &model->backend;
	return 0;
}

int sim_plain_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		  struct sim_backend **out)
{
	int error = sim_model_new(options, mem, buf, size, out);
	int64_t result;

	if (!error)
		error = ksmsim_sysfs_write(model_of(*out)->sim, "ksmsim/shortcuts", "0", 1,
					   &result);
	return error;
}

int sim_single_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		   struct sim_backend **out)
{
	const int error = sim_plain_new(options, mem, buf, size, out);

	if (!error)
		model_of(*out)->single = true;
	return error;
}
