-- Reclaim carries over what was too little to begin with, but never more than twice the queue: once 11 of 12 folios
-- that could not be split are gone, the last one is tried hardly more often than if it had always been alone.
-- Source: behaviour of mm/shrinker.c:do_shrink_slab(), as executed by a running 6.18.

ksm("ksmsim/shrink_tries", "16")
thp("hugepages-64kB/enabled", "madvise")
thp("hugepages-2048kB/enabled", "never")
proc("A")
mmap("A", "r", 256)
madvise("A", "r", "HUGEPAGE")
touch("A", "r+0:192")
for i = 0, 11 do
	madvise("A", "r+" .. i * 16, "DONTNEED")
	pin("A", "r+" .. i * 16 + 1, "get")
end
expect("@linux-6.12,linux-6.18,linux-7.3 hugepages-64kB/nr_anon_partially_mapped=12")
expect("deferred_split_queue=" .. (profile == "linux-6.1" and 0 or 12))
shrink()
expect("@linux-6.12,linux-6.18,linux-7.3 hugepages-64kB/split_failed=768 hugepages-64kB/split=0")
for i = 1, 11 do
	unpin("A", "r+" .. i * 16 + 1)
end
munmap("A", "r+16:176")
expect("@linux-6.12,linux-6.18,linux-7.3 hugepages-64kB/nr_anon_partially_mapped=1")
shrink()
expect("@linux-6.12,linux-6.18,linux-7.3 hugepages-64kB/split_failed=801")
