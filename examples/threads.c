/*
 * threads.c - two machines on two threads.
 *
 * Machines share nothing, so no lock is needed; and since nothing but its
 * calls decides what a machine does, both end in the same state, which
 * ksmsim_hash() shows.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include <ksmsim.h>

struct host {
	int error;
	uint64_t hash;
	int64_t pages_sharing;
};

/* A parent fills pages, forks children, and each child rewrites a page of its own. */
static int fork_and_diverge(struct ksmsim *sim)
{
	const struct ksmsim_mmap req = { .length = 64 * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_WORD, .value = 0x6b736d };
	uint32_t parent = 0;
	int64_t vaddr = 0;
	int error = ksmsim_spawn(sim, &parent);

	if (!error)
		error = ksmsim_mmap(sim, parent, &req, &vaddr);
	if (!error)
		error = ksmsim_madvise(sim, parent, (uint64_t)vaddr, req.length,
				       KSMSIM_MADV_MERGEABLE, NULL);
	if (!error)
		error = ksmsim_fill(sim, parent, (uint64_t)vaddr, 64, &content, NULL);
	for (uint64_t i = 0; i < 4 && !error; i++) {
		const struct ksmsim_content own = { .kind = KSMSIM_CONTENT_SEED, .value = i };
		uint32_t child = 0;

		error = ksmsim_fork(sim, parent, &child, NULL);
		if (!error)
			error = ksmsim_fill(sim, child, (uint64_t)vaddr + i * 4096, 1, &own, NULL);
	}
	return error;
}

static void *simulate(void *self)
{
	struct host *host = self;
	struct ksmsim *sim = NULL;
	int error = ksmsim_new(NULL, &sim);

	if (!error)
		error = fork_and_diverge(sim);
	if (!error)
		error = ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL);
	if (!error)
		error = ksmsim_run(sim, UINT64_C(1000000000));
	if (!error)
		error = ksmsim_counter_get(sim, KSMSIM_COUNT_pages_sharing, &host->pages_sharing);
	if (!error)
		error = ksmsim_hash(sim, &host->hash);
	ksmsim_free(sim);
	host->error = error;
	return NULL;
}

int main(void)
{
	struct host hosts[2] = { 0 };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		if (pthread_create(&threads[i], NULL, simulate, &hosts[i]))
			return 2;
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		if (hosts[i].error)
			fprintf(stderr, "threads: %s\n", ksmsim_strerror(hosts[i].error));
		printf("machine %d: %" PRId64 " pages saved, state %016" PRIx64 "\n", i,
		       hosts[i].pages_sharing, hosts[i].hash);
	}
	return hosts[0].error || hosts[1].error || hosts[0].hash != hosts[1].hash ||
	       hosts[0].pages_sharing <= 0;
}
