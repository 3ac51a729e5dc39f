/*
 * live_life.c - one number for each life of a frame as a KSM page.
 *
 * The node of a KSM page that went stays until somebody looks at it, and its events
 * name it by the number of its frame. Meanwhile the frame can be another page, and
 * become a KSM page again. So the second life of a frame gets a number of its own,
 * and an event is about
 *
 *	new		a life that begins
 *	merge		the last one
 *	rmitem		the one that the item was merged with
 *	rmnode		that of the rmitem before it, or else the oldest that has a node
 *
 * What could surprise: the page whose partner could not be merged never had a node.
 */
#include "live_parts.h"

#define LIFE_SHIFT 40u

static uint64_t life_of(const struct live *live, uint64_t pfn)
{
	return sim_map_get(&live->life_map, pfn + 1);
}

/* The first life has the number of the frame. */
static uint64_t number_of(uint64_t pfn, uint64_t life)
{
	return life > 1 ? pfn | (life - 1) << LIFE_SHIFT : pfn;
}

static uint64_t frame_of(uint64_t number)
{
	return number & ((UINT64_C(1) << LIFE_SHIFT) - 1);
}

/* The KSM page has a stable node, if it did not have one before. */
static int node_add(struct live *live, uint64_t number)
{
	size_t i;

	for (i = live->nr_nodes; i > 0; i--)
		if (live->nodes[i - 1] == number)
			return 0;
	if (!sim_grow(live->mem, &live->nodes, &live->nodes_capacity, live->nr_nodes,
		      sizeof(*live->nodes)))
		return live_no_memory(live);
	live->nodes[live->nr_nodes++] = number;
	return 0;
}

/* The node goes: @number, or the oldest of the frame @pfn. Returns its number. */
static uint64_t node_remove(struct live *live, uint64_t pfn, uint64_t number)
{
	size_t i, kept;

	for (i = 0; i < live->nr_nodes; i++)
		if (number ? live->nodes[i] == number : frame_of(live->nodes[i]) == pfn)
			break;
	if (i == live->nr_nodes)
		return number ? number : number_of(pfn, life_of(live, pfn));
	number = live->nodes[i];
	for (kept = i; kept + 1 < live->nr_nodes; kept++)
		live->nodes[kept] = live->nodes[kept + 1];
	live->nr_nodes--;
	return number;
}

static int live_again(struct live *live, struct live_event *event)
{
	const uint64_t pfn = event->event.pfn;
	struct live_item *item = live_item_find(live, event->item);
	int error = 0;

	if (!event->event.has_ksm_page &&
	    !sim_map_set(live->mem, &live->life_map, pfn + 1, life_of(live, pfn) + 1))
		return live_no_memory(live);
	event->event.pfn = number_of(pfn, life_of(live, pfn));
	if (event->event.error)
		return 0;
	if (event->event.has_ksm_page)
		error = node_add(live, event->event.pfn);
	if (item)
		item->life = event->event.pfn;
	return error;
}

/* The life that the item was merged with. */
static uint64_t item_number(struct live *live, const struct live_event *event)
{
	const struct live_item *item = live_item_find(live, event->item);

	if (item && item->life && frame_of(item->life) == event->event.pfn)
		return item->life;
	return number_of(event->event.pfn, life_of(live, event->event.pfn));
}

int live_lives(struct live *live)
{
	uint64_t before = 0; /* the life of the last rmitem */
	size_t i;
	int error = 0;

	for (i = 0; !error && i < live->pending.nr; i++) {
		struct live_event *event = &live->pending.list[i];
		const uint64_t pfn = event->event.pfn;

		switch (event->event.trace) {
		case KSMSIM_TRACE_ksm_merge_with_ksm_page:
			error = live_again(live, event);
			break;
		case KSMSIM_TRACE_ksm_remove_rmap_item:
			before = event->event.pfn = item_number(live, event);
			break;
		case KSMSIM_TRACE_ksm_remove_ksm_page:
			event->event.pfn =
				node_remove(live, pfn, frame_of(before) == pfn ? before : 0);
			before = 0;
			break;
		default:
			break;
		}
	}
	return error;
}

void live_lives_free(struct live *live)
{
	sim_free(live->mem, live->nodes);
	sim_map_free(live->mem, &live->life_map);
}
