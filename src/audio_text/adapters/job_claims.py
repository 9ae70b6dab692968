"""Jobs as workers see them: taken by a claim, written under its fence, given back or ended.

A claim's token is the job's number of claims at that time, and every write names the status and the token that it
expects: a worker that lost its job changes nothing. What ends a claim closes its attempt record with it.
"""

from audio_text.adapters.job_turn import NEXT
from audio_text.adapters.rows import job_of, json_text
from audio_text.adapters.statements import SELECTED, Statements
from audio_text.domain.blocks import WINDOW_SECONDS
from audio_text.domain.job import AttemptEnd, Completed, Failed, Job
from audio_text.domain.transcript import TranscriptChunk
from audio_text.ports import BroughtRecording, Claim, Released

# A job that is still processing was lost. Nobody knows how far into its next window its worker was: the whole of it is
# counted as decoded again, if the worker had begun at all. The last segment counts, too, unless it is of one channel
# among others: old code stores no position.
CLAIM = f"""
WITH RECURSIVE {NEXT}, reached AS (
    SELECT next.id, GREATEST(
        (SELECT CASE WHEN channel IS NULL THEN "end" END
         FROM transcription_segment WHERE job_id = next.id ORDER BY position DESC LIMIT 1),
        next.position + (next.options ->> 'clip_start_seconds')::float8
    ) AS seconds FROM next
), taken AS (
    UPDATE transcription_job AS job
    SET status = 'processing', attempt = attempt + 1, claims = claims + 1, lease_owner = {{}},
        lease_expires_at = now() + make_interval(secs => {{}}),
        recomputed_seconds = recomputed_seconds + CASE status
            WHEN 'processing' THEN LEAST({WINDOW_SECONDS}, GREATEST(duration - position, 0)) ELSE 0
        END,
        started_at = COALESCE(started_at, now()), update_date = now()
    FROM reached WHERE job.id = reached.id
    RETURNING job.*, reached.seconds
), lost AS (
    UPDATE transcription_attempt SET ended_at = now(), "end" = 'lost'
    FROM taken WHERE job_id = taken.id AND claim = taken.claims - 1 AND "end" IS NULL
), begun AS (
    INSERT INTO transcription_attempt (job_id, claim, attempt, owner, started_at, position)
    SELECT id, claims, attempt, lease_owner, now(), seconds FROM taken
)
SELECT {SELECTED} FROM taken
"""  # noqa: S608 -- our own column names

# Not update_date: a heartbeat is no news about the job.
EXTEND_LEASE = """
UPDATE transcription_job SET lease_expires_at = now() + make_interval(secs => {})
WHERE id = {} AND claims = {} AND status = 'processing' RETURNING id
"""

# A length that the recording tells takes the place of a reserve.
NOTE_RECORDING = """
UPDATE transcription_job
SET file_size_bytes = {}, content_type = {}, duration = COALESCE({}, duration),
    reserved_seconds = CASE WHEN {}::float8 IS NULL THEN reserved_seconds END, update_date = now()
WHERE id = {} AND claims = {} AND status = 'processing' RETURNING id
"""

# The job's row is written first, and the segments are inserted from what that wrote: without the claim, nothing is.
# A segment may be there already: from this statement, sent again after its answer was lost, or from an earlier
# attempt that got further than this one. The newest attempt wins, and what lies after its last segment is not its own.
# A score that is not a number is null in JSON.
RECORD = """
WITH owned AS (
    UPDATE transcription_job
    SET progress = {}, position = {}, block_start = {}, next_window = {}::jsonb, duration = {}, duration_after_vad = {},
        language = {}, language_probability = {}, device = {}, compute_type = {}, channel_progress = {}::jsonb,
        update_date = now()
    WHERE id = {} AND claims = {} AND status = 'processing'
    RETURNING id
), superseded AS (
    DELETE FROM transcription_segment USING owned WHERE job_id = owned.id AND position > {}
), stored AS (
    INSERT INTO transcription_segment
        (job_id, position, seek, start, "end", text, tokens,
         temperature, avg_logprob, compression_ratio, no_speech_prob, words, channel)
    SELECT owned.id, segment.id, seek, start, "end", text, tokens, COALESCE(temperature, 'NaN'),
           COALESCE(avg_logprob, 'NaN'), COALESCE(compression_ratio, 'NaN'), COALESCE(no_speech_prob, 'NaN'), words,
           channel
    FROM owned CROSS JOIN jsonb_to_recordset({}::jsonb) AS segment (
        id integer, seek integer, start float8, "end" float8, text text, tokens integer[],
        temperature float8, avg_logprob float8, compression_ratio float8, no_speech_prob float8, words jsonb,
        channel smallint
    )
    ON CONFLICT (job_id, position) DO UPDATE SET
        seek = excluded.seek, start = excluded.start, "end" = excluded."end", text = excluded.text,
        tokens = excluded.tokens, temperature = excluded.temperature, avg_logprob = excluded.avg_logprob,
        compression_ratio = excluded.compression_ratio, no_speech_prob = excluded.no_speech_prob,
        words = excluded.words, channel = excluded.channel
)
SELECT id FROM owned
"""

CLOSED = """
UPDATE transcription_attempt SET ended_at = now(), "end" = {}, error_code = {}, error_message = {}
FROM ended WHERE job_id = ended.id AND claim = ended.claims
"""

COMPLETE = f"""
WITH ended AS (
    UPDATE transcription_job
    SET status = 'completed', progress = 100, result_text = {{}}, duration = {{}}, duration_after_vad = {{}},
        processing_time_seconds = {{}}, real_time_factor = {{}}, language = {{}}, language_probability = {{}},
        audio_sha256 = {{}}, error_code = NULL, error_message = NULL, is_unannounced = true,
        lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now(),
        expires_at = now() + make_interval(secs => expires_in_seconds)
    WHERE id = {{}} AND claims = {{}} AND status = 'processing' RETURNING id, claims
), closed AS ({CLOSED})
SELECT id FROM ended
"""  # noqa: S608 -- our own statement

# The lock keeps the earlier job, and so what its segments are copied from, until all is copied: one that is deleted
# meanwhile is not found. What was begun goes on, for followers have seen its segments.
COMPLETE_FROM_EARLIER = f"""
WITH earlier AS (
    SELECT earlier.* FROM transcription_job AS job
    JOIN transcription_job AS earlier USING (whisper_model, options)
    WHERE job.id = {{}} AND job.claims = {{}} AND job.status = 'processing'
      AND NOT EXISTS (SELECT FROM transcription_segment WHERE job_id = job.id)
      AND earlier.audio_sha256 = {{}} AND earlier.owner IS NOT DISTINCT FROM job.owner
      AND earlier.status = 'completed' AND COALESCE(earlier.expires_at > now(), true)
    ORDER BY earlier.finished_at DESC, earlier.id LIMIT 1 FOR KEY SHARE OF earlier
), ended AS (
    UPDATE transcription_job AS job
    SET status = 'completed', progress = 100, result_text = earlier.result_text, position = earlier.position,
        block_start = earlier.block_start, channel_progress = earlier.channel_progress,
        duration = earlier.duration, duration_after_vad = earlier.duration_after_vad,
        language = earlier.language, language_probability = earlier.language_probability,
        device = earlier.device, compute_type = earlier.compute_type,
        audio_sha256 = earlier.audio_sha256, reused_from = earlier.id, processing_time_seconds = {{}},
        error_code = NULL, error_message = NULL, is_unannounced = true,
        lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now(),
        expires_at = now() + make_interval(secs => job.expires_in_seconds)
    FROM earlier WHERE job.id = {{}} AND job.claims = {{}} AND job.status = 'processing' RETURNING job.*
), copied AS (
    INSERT INTO transcription_segment
        (job_id, position, seek, start, "end", text, tokens,
         temperature, avg_logprob, compression_ratio, no_speech_prob, words, channel)
    SELECT ended.id, segment.position, seek, start, "end", text, tokens,
           temperature, avg_logprob, compression_ratio, no_speech_prob, segment.words, channel
    FROM ended JOIN transcription_segment AS segment ON segment.job_id = ended.reused_from
), closed AS ({CLOSED})
SELECT {SELECTED} FROM ended
"""  # noqa: S608 -- our own column names

FAIL = f"""
WITH ended AS (
    UPDATE transcription_job
    SET status = 'failed', error_code = {{}}, error_message = {{}}, processing_time_seconds = {{}},
        is_dead_letter = {{}}, is_unannounced = true,
        lease_owner = NULL, lease_expires_at = NULL, finished_at = now(), update_date = now(),
        expires_at = now() + make_interval(secs => expires_in_seconds)
    WHERE id = {{}} AND claims = {{}} AND status = 'processing' RETURNING id, claims
), closed AS ({CLOSED})
SELECT id FROM ended
"""  # noqa: S608 -- our own statement

RELEASE = f"""
WITH ended AS (
    UPDATE transcription_job
    SET status = 'pending', attempt = attempt - {{}}, available_at = now() + make_interval(secs => {{}}),
        lease_owner = NULL, lease_expires_at = NULL, update_date = now()
    WHERE id = {{}} AND claims = {{}} AND status = 'processing' RETURNING id, claims
), closed AS ({CLOSED})
SELECT id FROM ended
"""  # noqa: S608 -- our own statement


class PiccoloJobClaims(Statements):
    """The part of the port `JobRepository` that workers use: `JobClaims`."""

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        """Take the job of the tier whose turn it is."""
        rows = await self._run(CLAIM, tier, tier, owner, lease_seconds)
        return job_of(rows[0]) if rows else None

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Push the end of the lease out."""
        return bool(await self._run(EXTEND_LEASE, lease_seconds, claim.job_id, claim.token, repeatable=True))

    async def note_recording(self, claim: Claim, recording: BroughtRecording) -> bool:
        """Write down what a recording from elsewhere is."""
        news = (recording.size_bytes, recording.content_type, recording.duration, recording.duration)
        return bool(await self._run(NOTE_RECORDING, *news, claim.job_id, claim.token, repeatable=True))

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        """Store a chunk; its segments replace those from its first on."""
        place = (chunk.progress, chunk.position, chunk.block_start, json_text(chunk.next_window))
        audio = (chunk.duration, chunk.duration_after_vad)
        language = (chunk.language, chunk.language_probability)
        news = (*place, *audio, *language, chunk.device, chunk.compute_type, json_text(chunk.channel_progress))
        last = chunk.segments[-1].id if chunk.segments else None
        segments = json_text(chunk.segments)
        return bool(await self._run(RECORD, *news, claim.job_id, claim.token, last, segments, repeatable=True))

    async def complete(self, claim: Claim, outcome: Completed) -> bool:
        """Move processing → completed."""
        audio = (outcome.duration, outcome.duration_after_vad)
        speed = (outcome.processing_time_seconds, outcome.real_time_factor)
        language = (outcome.language, outcome.language_probability)
        news = (outcome.result_text, *audio, *speed, *language, outcome.audio_sha256)
        return await self._end(COMPLETE, *news, claim=claim, reason=Released(end=AttemptEnd.completed))

    async def complete_from_earlier(
        self, claim: Claim, *, audio_sha256: str, processing_time_seconds: float
    ) -> Job | None:
        """Move processing → completed with what an earlier job says."""
        fence = (claim.job_id, claim.token)
        asked = (*fence, audio_sha256, processing_time_seconds, *fence)
        rows = await self._run(COMPLETE_FROM_EARLIER, *asked, AttemptEnd.completed.value, None, None)
        return job_of(rows[0]) if rows else None

    async def fail(self, claim: Claim, outcome: Failed) -> bool:
        """Move processing → failed."""
        error = (outcome.error_code, outcome.error_message)
        reason = Released(end=AttemptEnd.failed, error_code=outcome.error_code, error_message=outcome.error_message)
        news = (*error, outcome.processing_time_seconds, outcome.is_dead_letter)
        return await self._end(FAIL, *news, claim=claim, reason=reason)

    async def release(self, claim: Claim, *, delay_seconds: float, reason: Released) -> bool:
        """Move processing → pending."""
        given_back = 1 if reason.end is AttemptEnd.handed_back else 0
        return await self._end(RELEASE, given_back, delay_seconds, claim=claim, reason=reason)

    async def _end(self, sql: str, *news: object, claim: Claim, reason: Released) -> bool:
        record = (reason.end.value, reason.error_code, reason.error_message)
        return bool(await self._run(sql, *news, claim.job_id, claim.token, *record))
