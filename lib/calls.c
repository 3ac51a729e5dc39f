/*
 * calls.c - the system calls of the public interface: bytes in, page numbers
 * down, errno out.
 *
 * Alignment is checked here as the kernel does it: a start must be page
 * aligned, a length is rounded up, and what overflows is an error.
 */
#include "calls.h"

#include <errno.h>

static int run_body(struct ksmsim *sim, void *args)
{
	struct ks_call *call = args;

	call->mm = ks_machine_mm(sim, call->pid);
	if (!call->mm)
		return KSMSIM_EPROCESS;
	call->result = call->body(sim, call);
	return 0;
}

int ks_call(struct ksmsim *sim, struct ks_call *call, int64_t *ret)
{
	const int err = ks_machine_run(sim, run_body, call);

	if (!err && ret)
		*ret = call->result;
	return err;
}

long ks_call_pages(const struct ksmsim *sim, uint64_t vaddr, uint64_t length, long overflow,
		   uint64_t *vpn, uint64_t *pages)
{
	const unsigned shift = sim->sys.tables.geo->page_shift;
	const uint64_t mask = (UINT64_C(1) << shift) - 1;

	if (vaddr & mask)
		return -EINVAL;
	if (length > UINT64_MAX - mask || vaddr > UINT64_MAX - ((length + mask) & ~mask))
		return overflow;
	*vpn = vaddr >> shift;
	*pages = (length + mask) >> shift;
	return 0;
}

static int64_t to_bytes(const struct ksmsim *sim, int64_t vpn)
{
	return vpn < 0 ? vpn : (int64_t)((uint64_t)vpn << sim->sys.tables.geo->page_shift);
}

/* ---- processes ---- */

static uint32_t process_add(struct ksmsim *sim, uint32_t mm)
{
	if (sim->nr_processes + 1 >= sim->room_processes) {
		const uint32_t room = sim->room_processes ? sim->room_processes * 2 : 8;

		sim->processes =
			ks_realloc(&sim->env, sim->processes, room * sizeof(*sim->processes));
		sim->room_processes = room;
	}
	sim->processes[++sim->nr_processes] = (struct ks_process){ .mm = mm, .alive = true };
	return sim->nr_processes;
}

static int do_spawn(struct ksmsim *sim, void *args)
{
	*(uint32_t *)args = process_add(sim, ks_mm_new(&sim->sys, sim->nr_processes + 1)->id);
	return 0;
}

int ksmsim_spawn(struct ksmsim *sim, uint32_t *pid)
{
	uint32_t made = 0;
	const int err = ks_machine_run(sim, do_spawn, &made);

	if (!err && pid)
		*pid = made;
	return err;
}

static int64_t do_fork(struct ksmsim *sim, struct ks_call *call)
{
	struct ks_mm *child;
	const long err = ks_mm_fork(&sim->sys, call->mm, sim->nr_processes + 1, &child);

	if (!err)
		call->made = process_add(sim, child->id);
	return err;
}

int ksmsim_fork(struct ksmsim *sim, uint32_t pid, uint32_t *child, int64_t *ret)
{
	struct ks_call call = { .pid = pid, .body = do_fork };
	const int err = ks_call(sim, &call, ret);

	if (!err && child)
		*child = call.made;
	return err;
}

/* Users and KSM both done with the mm: it goes. */
static void mm_put(struct ksmsim *sim, struct ks_mm *mm)
{
	if (!mm->ksm_slot)
		ks_mm_free(&sim->sys, mm);
}

static int64_t do_exec(struct ksmsim *sim, struct ks_call *call)
{
	sim->processes[call->pid].mm = ks_mm_exec(&sim->sys, call->mm)->id;
	mm_put(sim, call->mm);
	return 0;
}

int ksmsim_exec(struct ksmsim *sim, uint32_t pid, int64_t *ret)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_exec }, ret);
}

static int64_t do_exit(struct ksmsim *sim, struct ks_call *call)
{
	sim->processes[call->pid].alive = false;
	ks_mm_exit(&sim->sys, call->mm);
	mm_put(sim, call->mm);
	return 0;
}

int ksmsim_exit(struct ksmsim *sim, uint32_t pid)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_exit }, NULL);
}

static int64_t do_node(struct ksmsim *sim, struct ks_call *call)
{
	(void)sim;
	call->mm->nid = call->flags;
	return 0;
}

int ksmsim_node_set(struct ksmsim *sim, uint32_t pid, unsigned node)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if (node >= sim->sys.frames.nr_nodes)
		return KSMSIM_EARGUMENT;
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_node, .flags = node }, NULL);
}

/* ---- mappings ---- */

static int64_t do_mmap(struct ksmsim *sim, struct ks_call *call)
{
	const struct ksmsim_mmap *req = call->mmap;
	const uint64_t mask = (UINT64_C(1) << sim->sys.tables.geo->page_shift) - 1;
	const bool fixed = req->flags & (KSMSIM_MAP_FIXED | KSMSIM_MAP_FIXED_NOREPLACE);
	struct ks_mmap map = { .prot = req->prot, .flags = req->flags, .file = req->file };
	long err;

	if (!req->length || req->offset & mask)
		return -EINVAL;
	err = ks_call_pages(sim, fixed ? req->vaddr : req->vaddr & ~mask, req->length, -ENOMEM,
			    &map.vpn, &map.pages);
	if (err)
		return err;
	map.pgoff = req->offset >> sim->sys.tables.geo->page_shift;
	return to_bytes(sim, ks_mmap(&sim->sys, call->mm, &map));
}

int ksmsim_mmap(struct ksmsim *sim, uint32_t pid, const struct ksmsim_mmap *req, int64_t *ret)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if (!req || req->file > sim->sys.nr_files)
		return KSMSIM_EARGUMENT;
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_mmap, .mmap = req }, ret);
}

static int64_t do_munmap(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn, pages;
	const long err = ks_call_pages(sim, call->vaddr, call->length, -EINVAL, &vpn, &pages);

	return err ? err : ks_munmap(&sim->sys, call->mm, vpn, pages);
}

int ksmsim_munmap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){
			       .pid = pid, .body = do_munmap, .vaddr = vaddr, .length = length },
		       ret);
}

static int64_t do_mprotect(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn, pages;
	const long err = ks_call_pages(sim, call->vaddr, call->length, -ENOMEM, &vpn, &pages);

	return err ? err : ks_mprotect(&sim->sys, call->mm, vpn, pages, call->flags);
}

int ksmsim_mprotect(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
		    unsigned prot, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_mprotect,
					  .vaddr = vaddr,
					  .length = length,
					  .flags = prot },
		       ret);
}

static int64_t do_mremap(struct ksmsim *sim, struct ks_call *call)
{
	const uint64_t target = call->flags & KSMSIM_MREMAP_FIXED ? call->new_vaddr : 0;
	uint64_t vpn, old_pages, new_vpn, new_pages;
	long err = ks_call_pages(sim, call->vaddr, call->length, -EINVAL, &vpn, &old_pages);

	if (!err)
		err = ks_call_pages(sim, target, call->new_length, -EINVAL, &new_vpn, &new_pages);
	if (err)
		return err;
	return to_bytes(sim, ks_mremap(&sim->sys, call->mm, vpn, old_pages, new_pages, call->flags,
				       new_vpn));
}

int ksmsim_mremap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t old_length,
		  uint64_t new_length, unsigned flags, uint64_t new_vaddr, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_mremap,
					  .vaddr = vaddr,
					  .length = old_length,
					  .new_length = new_length,
					  .new_vaddr = new_vaddr,
					  .flags = flags },
		       ret);
}

static int64_t do_brk(struct ksmsim *sim, struct ks_call *call)
{
	const unsigned shift = sim->sys.tables.geo->page_shift;
	const uint64_t mask = (UINT64_C(1) << shift) - 1;

	return to_bytes(sim, ks_brk(&sim->sys, call->mm,
				    (call->vaddr >> shift) + ((call->vaddr & mask) != 0)));
}

int ksmsim_brk(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, int64_t *ret)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_brk, .vaddr = vaddr }, ret);
}

static int64_t do_madvise(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn, pages;
	const long err = ks_call_pages(sim, call->vaddr, call->length, -EINVAL, &vpn, &pages);

	if (err)
		return err;
	return call->flags == KSMSIM_MADV_HWPOISON
		       ? ks_memory_failure(&sim->sys, call->mm, vpn, pages)
		       : ks_madvise(&sim->sys, call->mm, vpn, pages,
				    (enum ksmsim_advice)call->flags);
}

int ksmsim_madvise(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
		   enum ksmsim_advice advice, int64_t *ret)
{
	if ((unsigned)advice >= KSMSIM_MADV_NR)
		return KSMSIM_EARGUMENT;
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_madvise,
					  .vaddr = vaddr,
					  .length = length,
					  .flags = advice },
		       ret);
}

/* mlock() rounds its start down instead of refusing it. */
static int64_t do_mlock(struct ksmsim *sim, struct ks_call *call)
{
	const uint64_t mask = (UINT64_C(1) << sim->sys.tables.geo->page_shift) - 1;
	const uint64_t offset = call->vaddr & mask;
	uint64_t vpn, pages;
	long err;

	if (call->length > UINT64_MAX - offset)
		return -EINVAL;
	err = ks_call_pages(sim, call->vaddr - offset, call->length + offset, -EINVAL, &vpn,
			    &pages);
	return err ? err : ks_mlock(&sim->sys, call->mm, vpn, pages, call->flags);
}

int ksmsim_mlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_mlock,
					  .vaddr = vaddr,
					  .length = length,
					  .flags = true },
		       ret);
}

int ksmsim_munlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length, int64_t *ret)
{
	return ks_call(
		sim,
		&(struct ks_call){ .pid = pid, .body = do_mlock, .vaddr = vaddr, .length = length },
		ret);
}

static int64_t do_clear_refs(struct ksmsim *sim, struct ks_call *call)
{
	return ks_clear_refs(&sim->sys, call->mm, call->flags);
}

int ksmsim_clear_refs(struct ksmsim *sim, uint32_t pid, unsigned what, int64_t *ret)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_clear_refs, .flags = what },
		       ret);
}

static int64_t do_prctl(struct ksmsim *sim, struct ks_call *call)
{
	if (!sim->env.feature[KS_FEAT_prctl_merge])
		return -EINVAL;
	return ks_ksm_merge_any(&sim->ksm, call->mm, call->flags);
}

int ksmsim_prctl_merge(struct ksmsim *sim, uint32_t pid, bool on, int64_t *ret)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_prctl, .flags = on }, ret);
}

static int64_t do_prctl_get(struct ksmsim *sim, struct ks_call *call)
{
	return sim->env.feature[KS_FEAT_prctl_merge] ? call->mm->merge_any : -EINVAL;
}

int ksmsim_prctl_merge_get(struct ksmsim *sim, uint32_t pid, int64_t *ret)
{
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_prctl_get }, ret);
}
