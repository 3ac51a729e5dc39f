-- The dirty bits of the entries themselves, which no kernel shows: after a PMD split they are the PMD's, in
-- 6.1 clear; after a split of the folio the PMD's everywhere; after both what the PMD split left.
-- Source: behaviour of mm/huge_memory.c:__split_huge_pmd_locked() and mm/migrate.c:remove_migration_pte().

local old = profile == "linux-6.1"

local function dirty(range, wanted)
	local is = page("P", range).dirty
	expect("P." .. range .. "=anon")
	if is ~= wanted then
		error(range .. ": dirty is " .. tostring(is))
	end
end

proc("P")
for _, region in ipairs({ "v", "w", "x" }) do
	mmap("P", region, 512)
	madvise("P", region, "HUGEPAGE")
	fill("P", region, "seeds:1")
	dirty(region .. "+0", true)
end
mprotect("P", "v+0:256", "r")
dirty("v+0", not old)
dirty("v+300", not old)
madvise("P", "w+5", "FREE")
dirty("w+5", false)
dirty("w+6", true)
mprotect("P", "x+0:256", "r")
madvise("P", "x+300", "FREE")
expect("P.x+0=order:0")
dirty("x+0", not old)
dirty("x+301", not old)
