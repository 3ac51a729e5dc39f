-- 12 MiB of THPs of which one page in every 50 KiB is written, in 6 MiB of memory without swap. They
-- fit if a THP with 471 or 472 zero pages counts as underused, and else they do not.
-- Source: cover letter of the THP shrinker series, 2024: survives for max_ptes_none up to 470.

local function run(name, limit)
	proc(name)
	thp("khugepaged/max_ptes_none", tostring(limit))
	mmap(name, "v", 6 * 512)
	madvise(name, "v", "HUGEPAGE")
	local failed = 0
	for byte = 0, 12 * 1024 * 1024 - 1, 50 * 1024 do
		local page = byte // 4096
		if fill(name, "v+" .. page, "seeds:" .. page + 1) < 0 then failed = failed + 1 end
	end
	exit(name)
	return failed
end

ksm("ksmsim/memory_pages", "1536")
if profile ~= "linux-6.1" then
	for _, limit in ipairs({ 0, 409, 470 }) do
		local failed = run("fits" .. limit, limit)
		if failed ~= 0 then error("max_ptes_none " .. limit .. ": " .. failed .. " writes failed") end
	end
end
for _, limit in ipairs({ 472, 511 }) do
	if run("dies" .. limit, limit) == 0 then error("max_ptes_none " .. limit .. ": all fits") end
end
expect("max_ptes_none=511")
