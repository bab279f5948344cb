-- wrk script: every write carries DEPTH copies (24 unless given) of the same request, which has CONTENT
-- octets of content, if any.
local depth = tonumber(os.getenv("DEPTH") or "24")
local content = tonumber(os.getenv("CONTENT") or "0")
local batch

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
