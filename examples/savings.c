/* savings.c - what would KSM save if two processes held the same 1 MiB? */
#include <inttypes.h>
#include <stdio.h>

#include <ksmsim.h>

static int add_process(struct ksmsim *sim)
{
	const struct ksmsim_mmap req = { .length = 256 * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS, .value = 1 };
	uint32_t pid;
	int64_t at;

	return ksmsim_spawn(sim, &pid) || ksmsim_mmap(sim, pid, &req, &at) ||
	       ksmsim_madvise(sim, pid, (uint64_t)at, req.length, KSMSIM_MADV_MERGEABLE, NULL) ||
	       ksmsim_fill(sim, pid, (uint64_t)at, 256, &content, NULL);
}

int main(void)
{
	struct ksmsim *sim;
	int64_t saved;

	if (ksmsim_new(NULL, &sim) || add_process(sim) || add_process(sim) ||
	    ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL) ||
	    ksmsim_run(sim, 1000000000) || /* ns: one second of virtual time */
	    ksmsim_counter_get(sim, KSMSIM_COUNT_pages_sharing, &saved))
		return 1;
	printf("%" PRId64 " of 512 pages saved\n", saved);
	ksmsim_free(sim);
	return saved != 256;
}
