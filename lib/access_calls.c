/*
 * access_calls.c - the public interface to what running code does to its memory
 * (fill, poke, touch, read, peek) and what others do to it (pin, migrate,
 * reclaim).
 */
#include "calls.h"

#include <errno.h>

static bool content_ok(const struct ksmsim_content *content)
{
	return content && (unsigned)content->kind <= KSMSIM_CONTENT_BYTES &&
	       (content->kind != KSMSIM_CONTENT_BYTES || content->bytes);
}

static long fault_errno(enum ks_fault_result result)
{
	return result == KS_FAULT_DONE ? 0 : result == KS_FAULT_OOM ? -ENOMEM : -EFAULT;
}

/* Page number of a page-aligned address: 0 or -EINVAL. */
static long to_vpn(const struct ksmsim *sim, uint64_t vaddr, uint64_t *vpn)
{
	uint64_t pages;

	return ks_call_pages(sim, vaddr, 0, -EINVAL, vpn, &pages);
}

static int64_t do_fill(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn = 0;
	long err = to_vpn(sim, call->vaddr, &vpn);

	for (uint64_t i = 0; !err && i < call->nr_pages; i++) {
		const ks_cid cid = ks_content_make(&sim->env, &sim->sys.contents, call->content, i);

		err = fault_errno(ks_access_store(&sim->sys, call->mm, vpn + i, cid));
		if (err)
			ks_content_put(&sim->env, &sim->sys.contents, cid);
	}
	return err;
}

int ksmsim_fill(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
		const struct ksmsim_content *content, int64_t *ret)
{
	if (!content_ok(content))
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_fill,
					  .vaddr = vaddr,
					  .nr_pages = nr_pages,
					  .content = content },
		       ret);
}

/* The part of a transfer that lies in one page. */
static uint32_t part_of_page(const struct ksmsim *sim, uint64_t vaddr, uint64_t length,
			     uint32_t *offset)
{
	const uint32_t page = sim->sys.contents.page_bytes;

	*offset = (uint32_t)(vaddr & (page - 1));
	return length < page - *offset ? (uint32_t)length : page - *offset;
}

static int64_t do_poke(struct ksmsim *sim, struct ks_call *call)
{
	long err = 0;

	while (!err && call->length) {
		uint32_t offset;
		const uint32_t part = part_of_page(sim, call->vaddr, call->length, &offset);
		const uint64_t vpn = call->vaddr >> sim->sys.tables.geo->page_shift;

		err = fault_errno(
			ks_access_poke(&sim->sys, call->mm, vpn, offset, call->from, part));
		call->from += part;
		call->vaddr += part;
		call->length -= part;
	}
	return err;
}

int ksmsim_poke(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, const void *bytes, size_t length,
		int64_t *ret)
{
	if (length && !bytes)
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_poke,
					  .vaddr = vaddr,
					  .length = length,
					  .from = bytes },
		       ret);
}

static int64_t do_touch(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn = 0;
	long err = to_vpn(sim, call->vaddr, &vpn);

	for (uint64_t i = 0; !err && i < call->nr_pages; i++)
		err = fault_errno(ks_access_poke(&sim->sys, call->mm, vpn + i, 0, NULL, 0));
	return err;
}

int ksmsim_touch(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){
			       .pid = pid, .body = do_touch, .vaddr = vaddr, .nr_pages = nr_pages },
		       ret);
}

/* Reads the pages; with a content, counts those that differ from it. */
static int64_t do_read(struct ksmsim *sim, struct ks_call *call)
{
	int64_t wrong = 0;
	uint64_t vpn = 0;
	const long err = to_vpn(sim, call->vaddr, &vpn);

	if (err)
		return err;
	for (uint64_t i = 0; i < call->nr_pages; i++) {
		const ks_cid seen = ks_access_load(&sim->sys, call->mm, vpn + i);
		ks_cid want;

		if (!seen)
			return -EFAULT;
		if (!call->content)
			continue;
		ks_content_get(&sim->sys.contents, seen);
		want = ks_content_make(&sim->env, &sim->sys.contents, call->content, i);
		wrong += want != seen;
		ks_content_put(&sim->env, &sim->sys.contents, want);
		ks_content_put(&sim->env, &sim->sys.contents, seen);
	}
	return wrong;
}

int ksmsim_read(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){
			       .pid = pid, .body = do_read, .vaddr = vaddr, .nr_pages = nr_pages },
		       ret);
}

int ksmsim_check_pages(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
		       const struct ksmsim_content *content, int64_t *ret)
{
	if (!content_ok(content))
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_read,
					  .vaddr = vaddr,
					  .nr_pages = nr_pages,
					  .content = content },
		       ret);
}

static int64_t do_peek(struct ksmsim *sim, struct ks_call *call)
{
	while (call->length) {
		uint32_t offset;
		const uint32_t part = part_of_page(sim, call->vaddr, call->length, &offset);
		const uint64_t vpn = call->vaddr >> sim->sys.tables.geo->page_shift;
		const ks_cid cid = ks_access_load(&sim->sys, call->mm, vpn);

		if (!cid)
			return -EFAULT;
		ks_content_read(&sim->sys.contents, cid, offset, call->to, part);
		call->to += part;
		call->vaddr += part;
		call->length -= part;
	}
	return 0;
}

int ksmsim_peek(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, void *bytes, size_t length,
		int64_t *ret)
{
	if (length && !bytes)
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_peek,
					  .vaddr = vaddr,
					  .length = length,
					  .to = bytes },
		       ret);
}

int ksmsim_content_page(const struct ksmsim_content *content, uint64_t index, size_t page_size,
			void *page)
{
	if (!content_ok(content) || !page || page_size < 4096 || page_size > 65536 ||
	    page_size & (page_size - 1))
		return KSMSIM_EARGUMENT;
	ks_content_describe(content, index, (uint32_t)page_size, page);
	return 0;
}

struct file_call {
	const struct ksmsim_content *content;
	uint32_t made;
};

static int do_file(struct ksmsim *sim, void *args)
{
	struct file_call *call = args;

	call->made = ks_file_new(&sim->sys, call->content);
	return 0;
}

int ksmsim_file_new(struct ksmsim *sim, const struct ksmsim_content *content, uint32_t *file)
{
	struct file_call call = { .content = content };
	int err;

	if (!content_ok(content))
		return KSMSIM_EARGUMENT;
	err = ks_machine_run(sim, do_file, &call);
	if (!err && file)
		*file = call.made;
	return err;
}

/* ---- what others do to the pages ---- */

static int64_t do_pin(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn;
	const long err = to_vpn(sim, call->vaddr, &vpn);

	return err ? err
		   : ks_access_pin(&sim->sys, call->mm, vpn, call->nr_pages,
				   (enum ksmsim_pin)call->flags);
}

int ksmsim_pin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
	       enum ksmsim_pin how, int64_t *ret)
{
	if ((unsigned)how > KSMSIM_PIN_HELD)
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_pin,
					  .vaddr = vaddr,
					  .nr_pages = nr_pages,
					  .flags = how },
		       ret);
}

static int64_t do_unpin(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn;
	const long err = to_vpn(sim, call->vaddr, &vpn);

	return err ? err : ks_access_unpin(&sim->sys, call->mm, vpn, call->nr_pages);
}

int ksmsim_unpin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){
			       .pid = pid, .body = do_unpin, .vaddr = vaddr, .nr_pages = nr_pages },
		       ret);
}

static int64_t do_migrate(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn;
	const long err = to_vpn(sim, call->vaddr, &vpn);

	return err ? err
		   : ks_access_migrate(&sim->sys, call->mm, vpn, call->nr_pages, call->flags,
				       ks_ksm_moved, &sim->ksm);
}

int ksmsim_migrate(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
		   unsigned node, int64_t *ret)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if (node >= sim->sys.frames.nr_nodes)
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_migrate,
					  .vaddr = vaddr,
					  .nr_pages = nr_pages,
					  .flags = node },
		       ret);
}

static int64_t do_swap_out(struct ksmsim *sim, struct ks_call *call)
{
	int64_t unmapped = 0;
	uint64_t vpn = 0;
	const long err = to_vpn(sim, call->vaddr, &vpn);

	for (uint64_t i = 0; !err && i < call->nr_pages; i++) {
		struct ks_pte pte;

		if (!ks_vma_at(call->mm, vpn + i))
			return -EFAULT;
		pte = ks_pte_get(&sim->sys.tables, &call->mm->pt, vpn + i);
		if (ks_pte_is_anon(pte))
			unmapped += (int64_t)ks_swap_out(&sim->sys, pte.pfn, call->flags);
	}
	return err ? err : unmapped;
}

int ksmsim_swap_out(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
		    bool keep_cached, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_swap_out,
					  .vaddr = vaddr,
					  .nr_pages = nr_pages,
					  .flags = keep_cached },
		       ret);
}
