/*
 * listener.c - hear every tracepoint as it happens.
 *
 * Prints the trace of three equal pages finding each other, in the form of the
 * kernel's trace file, and counts merges on the way. A listener is called in
 * the middle of the machine's work: it may look at the event, not at the
 * machine.
 */
#include <inttypes.h>
#include <stdio.h>

#include <ksmsim.h>

struct tally {
	unsigned new_ksm_pages; /* two private pages became one KSM page */
	unsigned joined;	/* a page joined a KSM page that was there */
};

static void on_event(void *self, const struct ksmsim_event *event)
{
	struct tally *tally = self;
	char line[256];

	ksmsim_event_format(event, line, sizeof(line));
	printf("%8" PRIu64 " us  %s\n", event->ns / 1000, line);
	if (event->trace != KSMSIM_TRACE_ksm_merge_with_ksm_page || event->error)
		return;
	if (event->has_ksm_page)
		tally->joined++;
	else
		tally->new_ksm_pages++;
}

static int three_equal_pages(struct ksmsim *sim)
{
	const struct ksmsim_mmap req = { .length = 3 * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_BYTE, .value = 'k' };
	uint32_t pid = 0;
	int64_t vaddr = 0;
	int error = ksmsim_spawn(sim, &pid);

	if (!error)
		error = ksmsim_mmap(sim, pid, &req, &vaddr);
	if (!error)
		error = ksmsim_madvise(sim, pid, (uint64_t)vaddr, req.length, KSMSIM_MADV_MERGEABLE,
				       NULL);
	if (!error)
		error = ksmsim_fill(sim, pid, (uint64_t)vaddr, 3, &content, NULL);
	return error;
}

int main(void)
{
	struct tally tally = { 0 };
	struct ksmsim *sim = NULL;
	int error = ksmsim_new(&(struct ksmsim_config){ .profile = "linux-6.18" }, &sim);

	if (!error)
		error = ksmsim_listen(sim, on_event, &tally);
	if (!error)
		error = three_equal_pages(sim);
	if (!error)
		error = ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL);
	if (!error)
		error = ksmsim_run(sim, UINT64_C(100000000));
	if (error)
		fprintf(stderr, "listener: %s\n", ksmsim_strerror(error));
	printf("%u new KSM pages, %u pages joined one\n", tally.new_ksm_pages, tally.joined);
	ksmsim_free(sim);
	return error || tally.new_ksm_pages != 1 || tally.joined < 1;
}
