/*
 * pages.c - the pages of every region as one line of text each.
 *
 *	"a1..4 -*3 k5/2*2 z"
 *
 * One token for each stretch of pages; - is a hole, z the zero page, Z the zero
 * page placed by KSM, f a page of a file, s a page in swap, a an anonymous and k
 * a KSM page. Then comes the number of the frame, /N if it is mapped N times and
 * not once, ! if it is the process's own, oN if it is of a folio of order N, and ^
 * if a PMD maps it (z^ is the huge zero folio); then what else kpageflags and pagemap
 * say: d dirty (of a KSM page: clean), c not soft-dirty, l lazily freed, m mlocked, u unevictable without
 * being mlocked or the other way round, x the bit "mapped once" is not as the number of
 * mappings has it, b other bits are not those that such a page has, r referenced (of a
 * KSM page: not referenced), v active. a1..4 are four frames in a row, k5*2 is the same
 * frame twice. g is a guard page,
 * x one that is lost since its memory failed.
 *
 * Frames are numbered in the order in which they are met, over all processes:
 * two backends that agree on which page is which frame give the same text,
 * whatever their frame numbers are. Holes at the end of a region are left out.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kpf.h"
#include "run.h"

/* enum words of a look; their letters are in flag_letters */
enum {
	FLAG_DIRTY = 1,
	FLAG_LAZYFREE = 2,
	FLAG_MLOCKED = 4,
	FLAG_UNEVICTABLE = 8,
	FLAG_ONCE = 16,
	FLAG_BITS = 32,
	FLAG_REFERENCED = 64,
	FLAG_ACTIVE = 128,
	FLAG_UNCHANGED = 256 /* not soft-dirty */
};
static const char flag_letters[] = "dlmuxbrvc";

/* Bits of kpageflags and of pagemap. */

struct look {
	char state;
	bool own;
	bool huge;	/* mapped by a PMD */
	uint32_t frame; /* 0: has none */
	uint32_t mapcount;
	uint32_t order; /* of its folio */
	unsigned flags; /* FLAG_... */
};

struct writer {
	struct sim_run *run;
	struct sim_map frames;
	uint32_t last_frame;
	struct sim_buf text;
	struct look first;
	uint64_t same, rising; /* pages that continue @first, with its frame or the next ones */
};

/* ---- from pages to text ---- */

static void flush(struct writer *w)
{
	const struct look *look = &w->first;
	const uint64_t nr = w->same > w->rising ? w->same : w->rising;
	size_t i;

	if (!nr)
		return;
	sim_buf_printf(&w->text, "%s%c", w->text.length ? " " : "", look->state);
	if (look->frame)
		sim_buf_printf(&w->text, "%" PRIu32, look->frame);
	if (w->rising > 1)
		sim_buf_printf(&w->text, "..%" PRIu64, look->frame + w->rising - 1);
	if (look->mapcount != 1)
		sim_buf_printf(&w->text, "/%" PRIu32, look->mapcount);
	if (look->own)
		sim_buf_put(&w->text, "!", 1);
	if (look->order)
		sim_buf_printf(&w->text, "o%" PRIu32, look->order);
	if (look->huge)
		sim_buf_put(&w->text, "^", 1);
	for (i = 0; i < sizeof(flag_letters) - 1; i++)
		if (look->flags >> i & 1)
			sim_buf_put(&w->text, &flag_letters[i], 1);
	if (w->same > 1)
		sim_buf_printf(&w->text, "*%" PRIu64, w->same);
	w->same = w->rising = 0;
}

/* The same but for the frame. */
static bool are_alike(const struct look *a, const struct look *b)
{
	return a->state == b->state && a->own == b->own && a->huge == b->huge &&
	       a->mapcount == b->mapcount && a->order == b->order && a->flags == b->flags;
}

static void add(struct writer *w, const struct look *look, uint64_t nr)
{
	const struct look *first = &w->first;
	const bool alike = (w->same || w->rising) && are_alike(look, first);

	if (alike && w->rising <= 1 && look->frame == first->frame) {
		w->same += nr;
		w->rising = 0;
	} else if (alike && w->same <= 1 && first->frame &&
		   look->frame == first->frame + (w->rising ? w->rising : 1)) {
		w->rising = (w->rising ? w->rising : 1) + 1;
		w->same = 0;
	} else {
		flush(w);
		w->first = *look;
		w->same = nr;
	}
}

static int frame_of(struct writer *w, uint64_t pfn, uint32_t *frame)
{
	uint64_t known = sim_map_get(&w->frames, pfn + 1);

	if (!known) {
		known = ++w->last_frame;
		if (!sim_map_set(&w->run->mem, &w->frames, pfn + 1, known))
			return KSMSIM_ENOMEM;
	}
	*frame = (uint32_t)known;
	return 0;
}

static bool sees(const struct writer *w, enum sim_sight sight)
{
	return (w->run->blind.pages >> sight & 1) == 0;
}

static bool is_zero_page(enum ksmsim_page_state state)
{
	return state == KSMSIM_PAGE_ZERO || state == KSMSIM_PAGE_KSM_ZERO;
}

/* The bits that tell what kind of page it is. Not among them: those of LRU lists, which move by
 * themselves, and the KSM bit, which some kernels set for every anonymous page. */
static uint64_t bits_of_kind(const struct ksmsim_page *page, unsigned order)
{
	const uint64_t part = page->pfn & (SIM_BIT(order) - 1) ? KPF_TAIL : KPF_HEAD;

	if (page->huge_zero)
		return KPF_ZERO | KPF_THP | part;
	if (is_zero_page(page->state))
		return KPF_ZERO | KPF_RESERVED;
	return KPF_MMAP | KPF_ANON | (order ? KPF_THP | part : 0);
}

/* Are these bits of kpageflags and pagemap other than the kind of page has them? Before 6.12 a
 * tail page has bits of its own. */
static bool has_other_bits(const struct writer *w, const struct ksmsim_page *page)
{
	const uint64_t all = KPF_WRITEBACK | KPF_BUDDY | KPF_MMAP | KPF_ANON | KPF_HEAD | KPF_TAIL |
			     KPF_HUGETLB | KPF_HWPOISON | KPF_THP | KPF_ZERO | KPF_RESERVED;
	const uint64_t shown = PAGEMAP_PRESENT | PAGEMAP_SWAP | PAGEMAP_FILE;
	const uint64_t flags = page->kpageflags;
	const unsigned pmd_order = (unsigned)__builtin_ctzll(w->run->world.page / 8);
	const bool zero = is_zero_page(page->state);

	if ((page->pagemap & shown) != (PAGEMAP_PRESENT | (page->huge_zero ? PAGEMAP_FILE : 0)))
		return true;
	if (flags & KPF_TAIL && !(flags & KPF_UPTODATE) && !zero)
		return false;
	if ((flags & all) != bits_of_kind(page, page->huge_zero ? pmd_order : page->order))
		return true;
	return zero ? page->pagemap & PAGEMAP_ONCE : !(flags & KPF_UPTODATE);
}

/* Whether a lazily freed page is active is not told: reclaim that cannot have it moves it to and fro. */
static unsigned flags_of(const struct ksmsim_page *page)
{
	const uint64_t flags = page->kpageflags;
	const bool once = (page->pagemap & PAGEMAP_ONCE) != 0;
	const bool dirty = (flags & KPF_DIRTY) != 0;
	const bool mlocked = (flags & KPF_MLOCKED) != 0;
	const bool referenced = (flags & KPF_REFERENCED) != 0;

	return (dirty != (page->state == KSMSIM_PAGE_KSM) ? FLAG_DIRTY : 0) |
	       (flags & KPF_SWAPBACKED ? 0 : FLAG_LAZYFREE) | (mlocked ? FLAG_MLOCKED : 0) |
	       (mlocked != ((flags & KPF_UNEVICTABLE) != 0) ? FLAG_UNEVICTABLE : 0) |
	       (once != (page->mapcount == 1) ? FLAG_ONCE : 0) |
	       (referenced != (page->state == KSMSIM_PAGE_KSM) ? FLAG_REFERENCED : 0) |
	       (flags & KPF_ACTIVE && flags & KPF_SWAPBACKED ? FLAG_ACTIVE : 0);
}

static int look_at(struct writer *w, const struct ksmsim_page *page, struct look *look)
{
	static const char states[] = {
		[KSMSIM_PAGE_NONE] = '-',     [KSMSIM_PAGE_ANON] = 'a',
		[KSMSIM_PAGE_KSM] = 'k',      [KSMSIM_PAGE_ZERO] = 'z',
		[KSMSIM_PAGE_KSM_ZERO] = 'Z', [KSMSIM_PAGE_FILE] = 'f',
		[KSMSIM_PAGE_SWAP] = 's',     [KSMSIM_PAGE_GUARD] = 'g',
		[KSMSIM_PAGE_HWPOISON] = 'x',
	};
	enum ksmsim_page_state state = page->state;

	if (state == KSMSIM_PAGE_KSM && !sees(w, SIM_SIGHT_ksm))
		state = KSMSIM_PAGE_ANON;
	if (state == KSMSIM_PAGE_KSM_ZERO && !sees(w, SIM_SIGHT_ksm_zero))
		state = KSMSIM_PAGE_ZERO;
	if (state == KSMSIM_PAGE_FILE && !sees(w, SIM_SIGHT_file))
		state = KSMSIM_PAGE_NONE;
	*look = (struct look){ .state = states[state], .mapcount = 1 };
	look->huge = page->pmd_mapped && sees(w, SIM_SIGHT_huge);
	if (sees(w, SIM_SIGHT_soft_dirty) && state != KSMSIM_PAGE_NONE &&
	    !(page->pagemap & PAGEMAP_SOFT_DIRTY))
		look->flags = FLAG_UNCHANGED;
	if (is_zero_page(state) && sees(w, SIM_SIGHT_flags) && has_other_bits(w, page))
		look->flags |= FLAG_BITS;
	if (state != KSMSIM_PAGE_ANON && state != KSMSIM_PAGE_KSM)
		return 0;
	look->order = sees(w, SIM_SIGHT_order) ? page->order : 0;
	if (sees(w, SIM_SIGHT_mapcount))
		look->mapcount = page->mapcount;
	/* of a large folio the kernel shows for every page what is true of its head */
	look->own = sees(w, SIM_SIGHT_exclusive) &&
		    (page->order ? (page->kpageflags & KPF_EXCLUSIVE) != 0 : page->anon_exclusive);
	if (sees(w, SIM_SIGHT_flags))
		look->flags |= flags_of(page) | (has_other_bits(w, page) ? FLAG_BITS : 0);
	return sees(w, SIM_SIGHT_frame) ? frame_of(w, page->pfn, &look->frame) : 0;
}

/* Where to look next: a backend that knows its holes says so. */
static int next_page(struct writer *w, uint32_t process, uint64_t *vaddr, uint64_t end)
{
	struct sim_backend *backend = w->run->backend;

	return backend->ops->next_page ? backend->ops->next_page(backend, process, vaddr, end) : 0;
}

static int put_region(struct writer *w, uint32_t process, const struct sim_region *region)
{
	static const struct look hole = { .state = '-', .mapcount = 1 };
	struct sim_backend *backend = w->run->backend;
	const uint64_t size = w->run->world.page, end = region->vaddr + region->length;
	uint64_t vaddr = region->vaddr, holes = 0, from;
	struct ksmsim_page page;
	struct look look;
	int error = 0;

	sim_buf_clear(&w->text);
	for (; !error && vaddr < end; vaddr += size) {
		from = vaddr;
		error = next_page(w, process, &vaddr, end);
		holes += (vaddr - from) / size;
		if (error || vaddr >= end)
			break;
		error = backend->ops->page(backend, process, vaddr, &page);
		if (!error)
			error = look_at(w, &page, &look);
		if (!error && look.state == '-') {
			holes++;
			continue;
		}
		if (!error && holes)
			add(w, &hole, holes);
		holes = 0;
		if (!error)
			add(w, &look, 1);
	}
	flush(w);
	return error || !w->text.failed ? error : KSMSIM_ENOMEM;
}

static int put_process(struct writer *w, uint32_t process, json_t *object)
{
	const struct sim_mm *mm = sim_world_mm(&w->run->world, process);
	char key[2 * SIM_NAME_MAX + 2];
	size_t i;
	int error = 0;

	for (i = 0; !error && i < mm->nr; i++) {
		if (mm->regions[i].gone || mm->regions[i].refused)
			continue;
		snprintf(key, sizeof(key), "%s.%s", w->run->world.processes[process].name,
			 mm->regions[i].name);
		error = put_region(w, process, &mm->regions[i]);
		if (!error && json_object_set_new(object, key, json_string(sim_buf_text(&w->text))))
			error = KSMSIM_ENOMEM;
	}
	return error;
}

json_t *sim_pages(struct sim_run *run, int *error)
{
	struct writer w = { .run = run, .text = { .mem = &run->mem } };
	json_t *object = json_object();
	size_t i;

	*error = object ? 0 : KSMSIM_ENOMEM;
	for (i = 0; !*error && i < run->world.nr_processes; i++)
		if (run->world.processes[i].alive)
			*error = put_process(&w, (uint32_t)i, object);
	sim_map_free(&run->mem, &w.frames);
	sim_buf_free(&w.text);
	if (!*error)
		return object;
	json_decref(object);
	return NULL;
}

/* ---- from text to pages ---- */

struct reader {
	const char *at;
	struct look look; /* of the next page */
	uint64_t left;	  /* pages that this token still has */
	bool rising;
};

static uint64_t number(struct reader *r)
{
	char *end;
	const uint64_t value = strtoull(r->at, &end, 10);

	r->at = end;
	return value;
}

static unsigned flag_of(char mark)
{
	const char *letter = strchr(flag_letters, mark);

	return letter ? 1u << (letter - flag_letters) : 0;
}

/* false: the text is at its end */
static bool read_token(struct reader *r)
{
	while (*r->at == ' ')
		r->at++;
	if (!*r->at)
		return false;
	r->look = (struct look){ .state = *r->at++, .mapcount = 1 };
	r->left = 1;
	r->rising = false;
	if (*r->at >= '0' && *r->at <= '9')
		r->look.frame = (uint32_t)number(r);
	if (!strncmp(r->at, "..", 2)) {
		r->at += 2;
		r->left = number(r) - r->look.frame + 1;
		r->rising = true;
	}
	for (; *r->at && *r->at != ' ';) {
		const char mark = *r->at++;

		if (mark == '/')
			r->look.mapcount = (uint32_t)number(r);
		else if (mark == '*')
			r->left = number(r);
		else if (mark == 'o')
			r->look.order = (uint32_t)number(r);
		else if (mark == '^')
			r->look.huge = true;
		else if (mark == '!')
			r->look.own = true;
		else
			r->look.flags |= flag_of(mark);
	}
	return true;
}

static struct look next_look(struct reader *r)
{
	static const struct look hole = { .state = '-', .mapcount = 1 };
	struct look look;

	if (!r->left && !read_token(r))
		return hole;
	look = r->look;
	if (r->left)
		r->left--;
	r->look.frame += r->rising;
	return look;
}

/* Pass over what both have left of holes and of one and the same frame. */
static uint64_t skip(struct reader *a, struct reader *b)
{
	const uint64_t nr = a->left < b->left ? a->left : b->left;

	if (!nr || a->rising || b->rising)
		return 0;
	a->left -= nr;
	b->left -= nr;
	return nr;
}

uint64_t sim_pages_differ(const char *a, const char *b)
{
	struct reader ra = { .at = a }, rb = { .at = b };
	struct look la, lb;
	uint64_t page = 0;

	while (ra.left || rb.left || *ra.at || *rb.at) {
		la = next_look(&ra);
		lb = next_look(&rb);
		if (la.frame != lb.frame || !are_alike(&la, &lb))
			return page;
		page += 1 + skip(&ra, &rb);
	}
	return UINT64_MAX;
}

void sim_pages_at(const char *text, uint64_t page, char *buf, size_t size)
{
	static const struct {
		char letter;
		const char *word;
	} words[] = { { '-', "none" }, { 'a', "anon" },	    { 'k', "ksm" },
		      { 'z', "zero" }, { 'Z', "ksm_zero" }, { 'f', "file" },
		      { 's', "swap" }, { 'g', "guard" },    { 'x', "hwpoison" } };
	static const char *const flag_words[sizeof(flag_letters) - 1] = {
		"dirty",	 "lazily freed", "mlocked",    "unevictable unlike mlocked",
		"bit 56",	 "other bits",	 "referenced", "active",
		"not soft-dirty"
	};
	/* of these KSM pages are told the opposite */
	static const unsigned usual_of_ksm = FLAG_DIRTY | FLAG_REFERENCED;
	struct reader r = { .at = text };
	struct look look;
	size_t i;
	int length = 0;

	while (page && read_token(&r)) {
		const uint64_t nr = r.left < page ? r.left : page;

		r.left -= nr;
		r.look.frame += r.rising ? (uint32_t)nr : 0;
		page -= nr;
		if (r.left)
			break;
	}
	look = next_look(&r);
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (words[i].letter == look.state)
			length = snprintf(buf, size, "%s", words[i].word);
	if (look.frame && length > 0)
		length += snprintf(buf + length, size - (size_t)length, " %" PRIu32, look.frame);
	if (look.mapcount != 1 && length > 0)
		length += snprintf(buf + length, size - (size_t)length, " mapped %" PRIu32 " times",
				   look.mapcount);
	if (look.own && length > 0)
		length += snprintf(buf + length, size - (size_t)length, " own");
	if (look.order && length > 0)
		length += snprintf(buf + length, size - (size_t)length, " order %" PRIu32,
				   look.order);
	if (look.huge && length > 0)
		length += snprintf(buf + length, size - (size_t)length, " PMD-mapped");
	for (i = 0; i < sizeof(flag_letters) - 1; i++)
		if (look.flags >> i & 1 && length > 0)
			length += snprintf(buf + length, size - (size_t)length, " %s%s",
					   look.state == 'k' && usual_of_ksm >> i & 1 ? "not " : "",
					   flag_words[i]);
}
