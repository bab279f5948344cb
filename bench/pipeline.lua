-- wrk script: every write carries DEPTH copies (24 unless given) of the same request, which has CONTENT
-- octets of content, if any.  At the end, a line for bench/wrk.py.
local depth = tonumber(os.getenv("DEPTH") or "24")
local content = tonumber(os.getenv("CONTENT") or "0")
local batch

-- Without a function request, wrk makes its request once.
if depth > 1 or content > 0 then
   init = function()
      local one
      if content > 0 then
         one = wrk.format("POST", nil, nil, string.rep("a", content))
      else
         one = wrk.format()
      end
      local copies = {}
      for i = 1, depth do copies[i] = one end
      batch = table.concat(copies)
   end

   request = function() return batch end
end

-- Each latency with how often it counts, as latency(i) gives them, but that looks for each from the first
-- on, which takes minutes where they are many.  Read instead is the memory of wrk, if it looks as it should.
local ffi = require("ffi")
ffi.cdef("struct latencies { uint64_t count, limit, min, max, data[]; };")

local function counted(latency)
   local seen, stored = {}, ffi.cast("struct latencies **", latency)[0]
   if tonumber(stored.min) == latency.min and tonumber(stored.max) == latency.max then
      for value = latency.min, latency.max do
         local times = tonumber(stored.data[value])
         if times > 0 then seen[#seen + 1] = string.format("%d:%d", value, times) end
      end
   else
      for i = 1, #latency do seen[i] = string.format("%d:%d", latency(i)) end
   end
   return table.concat(seen, " ")
end

done = function(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "measured requests=%d microseconds=%d status=%d connect=%d read=%d write=%d timeout=%d\n",
      summary.requests, summary.duration,
      errors.status, errors.connect, errors.read, errors.write, errors.timeout))
   io.write("latencies ", summary.requests > 0 and counted(latency) or "", "\n")
end
