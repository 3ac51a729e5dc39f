/*
 * machine.c - life and time of a machine: make, free, run ksmd, wait.
 */
#include "machine.h"

struct ks_mm *ks_machine_mm(const struct ksmsim *sim, uint32_t pid)
{
	if (!pid || pid > sim->nr_processes || !sim->processes[pid].alive)
		return NULL;
	return ks_mm_find(&sim->sys, sim->processes[pid].mm);
}

int ks_machine_refuses(const struct ksmsim *sim)
{
	if (!sim)
		return KSMSIM_EARGUMENT;
	if (sim->env.failed)
		return sim->env.failed;
	return sim->env.in_listener || sim->env.out ? KSMSIM_EREENTRY : 0;
}

int ks_machine_run(struct ksmsim *sim, int (*body)(struct ksmsim *sim, void *args), void *args)
{
	const int refused = ks_machine_refuses(sim);
	jmp_buf out;
	int err;

	if (refused)
		return refused;
	sim->env.out = &out;
	if (setjmp(out)) {
		sim->env.out = NULL;
		return sim->env.failed;
	}
	err = body(sim, args);
	sim->env.out = NULL;
	return err;
}

struct shape {
	const struct ks_geometry *geo;
	unsigned nr_nodes;
};

static int machine_init(struct ksmsim *sim, void *args)
{
	const struct shape *shape = args;

	ks_system_init(&sim->sys, &sim->env, shape->geo, shape->nr_nodes);
	ks_thp_defaults(sim);
	ks_policies_init(&sim->policies, &sim->sys);
	ks_ksm_init(&sim->ksm, &sim->sys);
	ks_khugepaged_init(&sim->khugepaged, &sim->sys);
	ks_khugepaged_hooks(&sim->khugepaged, &sim->sys.hooks);
	ks_advisor_init(&sim->advisor, &sim->ksm);
	ks_ksmd_init(&sim->ksmd, &sim->ksm);
	sim->ksmd.khugepaged = &sim->khugepaged;
	return 0;
}

int ksmsim_new(const struct ksmsim_config *config, struct ksmsim **out)
{
	const struct ksmsim_config all_defaults = { 0 };
	const struct ksmsim_allocator *allocator;
	struct shape shape = { .nr_nodes = 1 };
	struct ksmsim *sim;
	int profile, err;

	if (!out)
		return KSMSIM_EARGUMENT;
	if (!config)
		config = &all_defaults;
	profile = ks_table_find(KSMSIM_TABLE_PROFILES,
				config->profile ? config->profile : "linux-6.18");
	shape.geo = ks_geometry_find(config->geometry ? config->geometry : "x86-64-4level");
	if (profile < 0 || !shape.geo)
		return KSMSIM_ENAME;
	if (config->nr_nodes > KS_NODES_MAX ||
	    (config->allocator && (!config->allocator->alloc || !config->allocator->free)))
		return KSMSIM_EARGUMENT;
	allocator = ks_allocator(config->allocator);
	sim = allocator->alloc(allocator->self, sizeof(*sim));
	if (!sim)
		return KSMSIM_ENOMEM;
	ks_env_init(&sim->env, allocator, (enum ks_profile)profile, config->seed);
	if (config->nr_nodes)
		shape.nr_nodes = config->nr_nodes;
	err = ks_machine_run(sim, machine_init, &shape);
	if (err) {
		ksmsim_free(sim);
		return err;
	}
	*out = sim;
	return 0;
}

void ksmsim_free(struct ksmsim *sim)
{
	struct ksmsim_allocator allocator;

	if (!sim)
		return;
	allocator = sim->env.allocator;
	if (sim->khugepaged.sys)
		ks_khugepaged_destroy(&sim->khugepaged);
	if (sim->ksm.env)
		ks_ksm_destroy(&sim->ksm);
	if (sim->sys.env)
		ks_system_destroy(&sim->sys);
	ks_env_destroy(&sim->env);
	allocator.free(allocator.self, sim, sizeof(*sim));
}

int ksmsim_feature_set(struct ksmsim *sim, const char *name, bool on)
{
	const int refused = ks_machine_refuses(sim);
	const int feature = ks_table_find(KSMSIM_TABLE_FEATURES, name);

	if (refused)
		return refused;
	if (feature < 0)
		return KSMSIM_ENAME;
	if (sim->nr_processes)
		return KSMSIM_EARGUMENT;
	sim->env.feature[feature] = on;
	return 0;
}

int ksmsim_feature_get(struct ksmsim *sim, const char *name, bool *on)
{
	const int refused = ks_machine_refuses(sim);
	const int feature = ks_table_find(KSMSIM_TABLE_FEATURES, name);

	if (refused)
		return refused;
	if (feature < 0)
		return KSMSIM_ENAME;
	if (on)
		*on = sim->env.feature[feature];
	return 0;
}

int ksmsim_cost_set(struct ksmsim *sim, const char *name, uint64_t ns)
{
	const int refused = ks_machine_refuses(sim);
	const int cost = ks_table_find(KSMSIM_TABLE_COSTS, name);

	if (refused)
		return refused;
	if (cost < 0)
		return KSMSIM_ENAME;
	sim->env.cost_ns[cost] = ns;
	return 0;
}

int ksmsim_cost_get(struct ksmsim *sim, const char *name, uint64_t *ns, uint64_t *count)
{
	const int refused = ks_machine_refuses(sim);
	const int cost = ks_table_find(KSMSIM_TABLE_COSTS, name);

	if (refused)
		return refused;
	if (cost < 0)
		return KSMSIM_ENAME;
	if (ns)
		*ns = sim->env.cost_ns[cost];
	if (count)
		*count = sim->env.cost_count[cost];
	return 0;
}

int ksmsim_listen(struct ksmsim *sim, ksmsim_listener listener, void *self)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	sim->env.listener = listener;
	sim->env.listener_self = self;
	return 0;
}

int ksmsim_inject_failure(struct ksmsim *sim, enum ksmsim_inject what, uint64_t count)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if ((unsigned)what >= KSMSIM_INJECT_NR)
		return KSMSIM_EARGUMENT;
	sim->env.inject[what] = count;
	return 0;
}

/* ---- time ---- */

static int do_batch(struct ksmsim *sim, void *args)
{
	uint64_t *pages = args;

	*pages = sim->env.knob.run == 1 ? ks_ksm_batch(&sim->ksm, *pages) : 0;
	return 0;
}

int ksmsim_ksmd_batch(struct ksmsim *sim, uint64_t pages, uint64_t *visited)
{
	const int err = ks_machine_run(sim, do_batch, &pages);

	if (!err && visited)
		*visited = pages;
	return err;
}

static int do_run(struct ksmsim *sim, void *args)
{
	uint64_t end;

	if (__builtin_add_overflow(sim->env.now_ns, *(const uint64_t *)args, &end))
		return KSMSIM_EARGUMENT;
	ks_ksmd_run(&sim->ksmd, end);
	return 0;
}

int ksmsim_run(struct ksmsim *sim, uint64_t ns)
{
	return ks_machine_run(sim, do_run, &ns);
}

int ksmsim_advance(struct ksmsim *sim, uint64_t ns)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if (__builtin_add_overflow(sim->env.now_ns, ns, &ns))
		return KSMSIM_EARGUMENT;
	sim->env.now_ns = ns;
	return 0;
}

int ksmsim_ksmd_cpu_add(struct ksmsim *sim, uint64_t ns)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if (__builtin_add_overflow(sim->env.ksmd_ns, ns, &ns))
		return KSMSIM_EARGUMENT;
	sim->env.ksmd_ns = ns;
	return 0;
}

static int do_drain(struct ksmsim *sim, void *args)
{
	(void)args;
	ks_lru_drain(&sim->env, &sim->sys.frames);
	return 0;
}

int ksmsim_lru_drain(struct ksmsim *sim)
{
	return ks_machine_run(sim, do_drain, NULL);
}

uint64_t ksmsim_now(const struct ksmsim *sim)
{
	return sim ? sim->env.now_ns : 0;
}
