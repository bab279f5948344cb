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

done = function(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "measured requests=%d microseconds=%d status=%d connect=%d read=%d write=%d timeout=%d\n",
      summary.requests, summary.duration,
      errors.status, errors.connect, errors.read, errors.write, errors.timeout))
   local seen = {}
   for i = 1, #latency do seen[i] = string.format("%d:%d", latency(i)) end
   io.write("latencies ", table.concat(seen, " "), "\n")
end
