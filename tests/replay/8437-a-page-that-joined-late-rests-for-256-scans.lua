-- A page that was in an unstable tree and then joined a KSM page is merged for ever, also when the
-- number of its scan comes round modulo 256.
-- Source: behaviour of mm/ksm.c, all versions.
-- Trap 38: seq is compared modulo 256.

ksm("run", "1")
ksm("smart_scan", "0")
proc("A")
mmap("A", "m", 2)
fill("A", "m", "byte:1")
madvise("A", "m", "MERGEABLE")
proc("B")
mmap("B", "m", 1)
fill("B", "m", "byte:2")
madvise("B", "m", "MERGEABLE")
scan(2)
expect("pages_shared=1", "pages_sharing=1", "pages_unshared=1")
fill("B", "m", "byte:1")
scan(2)
expect("pages_shared=1", "pages_sharing=2", "pages_unshared=0")
for _ = 1, 260 do
	scan()
	expect("pages_shared=1", "pages_sharing=2", "pages_unshared=0", "B.m=ksm")
end
fill("B", "m", "byte:2")
scan(2)
expect("pages_shared=1", "pages_sharing=1", "pages_unshared=1")
