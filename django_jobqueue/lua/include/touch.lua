-- Write a state as it is. WAIT asks the replicas for the writes of its own connection; this write comes
-- after all that made the job, whichever connection they came on, so who has it has the job.
local function touch(jobs, id, state)
  redis.call("HSET", jobs, id, state)
end
