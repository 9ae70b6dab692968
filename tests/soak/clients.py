"""Clients that do not give up: they submit until they are answered 201, and then follow, ask or cancel to the end."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

PATIENCE_SECONDS = 600.0
"""A client that has not got on for so long has found a promise broken."""

ANSWER_SECONDS = 15.0
"""How long it waits for one answer before it asks again."""

PAUSE_SECONDS = (0.1, 0.5)
TERMINAL = {"completed", "failed", "cancelled"}


class UploadGoneError(Exception):
    """An earlier submit was carried out, unanswered, and its job is over already: the recording went with it."""


class UnexpectedAnswerError(Exception):
    """An API failed in a way that no outage excuses."""


class Story(msgspec.Struct):
    """What one client lived through."""

    behaviour: str
    recording: str = ""
    job_id: str = ""
    uploads: int = 0
    accepted_after_seconds: float = 0.0
    told: str = ""
    result: str | None = None
    segments: dict[int, str] = {}
    """What a follower has been sent, by the segment's id."""
    connections: int = 0
    complaints: list[str] = []


class Client:
    """One client with one recording. `urls` are those of all APIs; each request goes to any of them."""

    def __init__(self, http: httpx.AsyncClient, urls: list[str], *, behaviour: str, chance: random.Random) -> None:
        self._http = http
        self._urls = urls
        self._behaviour = behaviour
        self._chance = chance
        self.story = Story(behaviour)

    async def run(self, recording: Path) -> Story:
        """Do all of it. Raises TimeoutError, UnexpectedAnswerError."""
        story = self.story
        story.recording = recording.name
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            story.job_id = await self.submit(recording)
        story.accepted_after_seconds = time.monotonic() - began
        async with asyncio.timeout(PATIENCE_SECONDS):
            match self._behaviour:
                case "follow":
                    await self._follow()
                case "cancel":
                    await self._cancel()
                    await self._poll()
                case _:
                    await self._poll()
        return story

    async def upload(self, recording: Path) -> str:
        """Give the url to submit."""
        self.story.uploads += 1
        content = await asyncio.to_thread(recording.read_bytes)
        declared = {"filename": recording.name, "file_size": len(content)}
        answer = await self._answer("POST", "/api/v1/audio/presigned-url", json=declared)
        target = answer.raise_for_status().json()
        headers = target.get("headers") or {}
        stored = await self._until_answered(lambda: self._http.put(target["url"], content=content, headers=headers))
        stored.raise_for_status()
        return target["url"]

    async def submit(self, recording: Path) -> str:
        """Upload and submit until it is accepted; the job's id."""
        while True:
            with suppress(UploadGoneError):
                return await self.submit_upload(recording, await self.upload(recording))

    async def submit_upload(self, recording: Path, url: str) -> str:
        """Submit what is uploaded until it is accepted; the job's id. Raises UploadGoneError."""
        body = {"filename": recording.name, "url": url, "mode": "demo"}
        answer = await self._answer("POST", "/api/v1/job/transcribe", json=body)
        if answer.status_code == 404:
            raise UploadGoneError
        assert answer.status_code == 201, f"submit: {answer.status_code} {answer.text}"
        return answer.json()["id"]

    async def _poll(self) -> None:
        while self.story.told not in TERMINAL:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5))
            path = f"/api/v1/job/status/{self.story.job_id}"
            answer = await self._answer("GET", path)
            job = answer.raise_for_status().json()
            self.story.told, self.story.result = job["status"], job["result_text"]

    async def _cancel(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 3.0))
        path = f"/api/v1/job/{self.story.job_id}/cancel"
        answer = await self._answer("POST", path)
        assert answer.status_code in {200, 409}, f"cancel: {answer.status_code} {answer.text}"

    async def _follow(self) -> None:
        story, cursor = self.story, ""
        while story.told not in TERMINAL:
            url = f"ws{self._any_url()[4:]}/api/v1/job/ws/{story.job_id}" + (
                f"?last_event_id={cursor}" if cursor else ""
            )
            try:
                async with connect(url, proxy=None, open_timeout=ANSWER_SECONDS, max_size=None) as socket:
                    story.connections += 1
                    async for text in socket:
                        message = msgspec.json.decode(text)
                        if message["type"] == "job_update":
                            cursor = message["event_id"]
                            self._hear(message)
            except (WebSocketException, InvalidHandshake, OSError, EOFError):
                pass
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))

    def _hear(self, message: dict[str, Any]) -> None:
        story = self.story
        if story.told in TERMINAL:
            story.complaints.append("told something after the end")
        story.told, story.result = message["status"], message.get("result")
        for segment in message["segments"]:
            story.segments[segment["id"]] = segment["text"]

    async def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._until_answered(lambda: self._http.request(method, self._any_url() + path, **options))

    async def _until_answered(self, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Ask until there is an answer that says something about the request."""
        while True:
            try:
                answer = await ask()
            except (httpx.TransportError, httpx.DecodingError):
                pass
            else:
                # 503 is how an API says that something is down; what a gateway says while it starts is its own affair.
                is_ours = str(answer.request.url).startswith(tuple(self._urls))
                if is_ours and answer.status_code >= 500 and answer.status_code != 503:
                    raise UnexpectedAnswerError(f"{answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
                if answer.status_code < 500:
                    return answer
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))

    def _any_url(self) -> str:
        return self._chance.choice(self._urls)
