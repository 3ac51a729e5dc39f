-- Three guests with mostly equal memory. In every round each guest writes to
-- some pages, chosen by chance (--seed), and time passes with ksmd at work.
--
--	ksmsim run sim/scenarios/three-guests.lua --seed 7

local guests = {"web1", "web2", "web3"}
local PAGES, SHARED, ROUNDS = 512, 384, 10

ksm("pages_to_scan", 400)
ksm("run", 1)

for i, name in ipairs(guests) do
  proc(name)
  mmap(name, "ram", PAGES)
  fill(name, "ram+0:" .. SHARED, "seeds:1")                                -- the same image
  fill(name, "ram+" .. SHARED .. ":*", "seeds:" .. i * 1000000)            -- its own
  madvise(name, "ram", "MERGEABLE")
end

for round = 1, ROUNDS do
  for _, name in ipairs(guests) do
    for _ = 1, 8 do
      local page = math.random(0, PAGES - 1)
      poke(name, "ram+" .. page, 64, math.random(0, 255), 8)
    end
  end
  run("200ms")
  echo("round " .. round .. ": " .. counter("pages_sharing") .. " pages saved, " ..
       process("web1").merging_pages .. " of them in web1")
end

-- Two of three copies of each image page can be saved, less what was written.
local saved = counter("pages_sharing")
if saved < SHARED or saved > 2 * SHARED then
  error("unexpected: " .. saved .. " pages saved")
end
for _, name in ipairs(guests) do
  expect(name .. ".rmap_items=" .. PAGES, name .. ".rss_anon=" .. PAGES)
end
