-- The second write of 2 to run does nothing at all: it does not even look for merged pages.
-- Source: behaviour of mm/ksm.c:run_store(), all versions: only a change of the value acts.
-- Trap 31: writing 2 twice is a no-op.

ksm("run", "1")
ksm("smart_scan", "0")
proc("A")
mmap("A", "m", 4)
fill("A", "m", "byte:1")
madvise("A", "m", "MERGEABLE")
scan(2)
expect("pages_shared=1", "pages_sharing=3")
local before = counter("unmerge_entries")
ksm("run", "2")
expect("result=0", "pages_shared=0", "rmap_items=0", "full_scans=0")
local after = counter("unmerge_entries")
expect("unmerge_entries=" .. after)
if after == before then
	error("run=2 walked nothing")
end
ksm("run", "2")
expect("result=0", "unmerge_entries=" .. after)
