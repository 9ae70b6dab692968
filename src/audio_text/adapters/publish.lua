-- Appends one event to its job's log and to the live stream that all API processes read.
--
-- KEYS  log of the job, live stream
-- ARGV  payload, token of this publish, job id, log length, log retention in seconds, live length,
--       the job's number of claims, 1 if this is its end, 1 if it waits
-- Gives the event's id; that of the log's newest event, if this one is no news.
--
-- An id is <ms>-<ordinal>: the time makes it unique even when Redis has lost its data, the ordinal counts the stream's
-- entries from 1 without gaps, so that every reader sees by itself when one is missing.

local time = redis.call("time")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function newest_of(stream)
    local entry = redis.call("xrevrange", stream, "+", "-", "count", 1)[1]
    if not entry then
        return { ms = 0, ordinal = 0 }
    end
    local ms, ordinal = string.match(entry[1], "^(%d+)-(%d+)$")
    return { id = entry[1], ms = tonumber(ms), ordinal = tonumber(ordinal), fields = entry[2] }
end

local function append(stream, newest, length, ...)
    local id = string.format("%.0f-%.0f", math.max(now, newest.ms), newest.ordinal + 1)
    return redis.call("xadd", stream, "maxlen", "~", length, id, ...)
end

local log, live = KEYS[1], KEYS[2]
local payload, token, job_id = ARGV[1], ARGV[2], ARGV[3]

local claims, is_end, waits = tonumber(ARGV[7]), ARGV[8], ARGV[9] == "1"

-- Said by somebody who has lost the job since, or said again after its end: JobUpdate.is_news is the same in Python.
local function is_stale(fields)
    local newest_claims = tonumber(fields[6] or 0)
    return claims < newest_claims or claims == newest_claims and fields[8] == "1" and not waits
end

local newest = newest_of(log)
if newest.fields and (newest.fields[4] == token or is_stale(newest.fields)) then
    return newest.id -- the same token: the reply to this publish was lost, and it came a second time
end
local id = append(log, newest, ARGV[4], "update", payload, "token", token, "claims", claims, "end", is_end)
redis.call("expire", log, ARGV[5])
append(live, newest_of(live), ARGV[6], "job", job_id, "event", id, "update", payload)
return id
