"""The wire contract from a client's side: a service that misbehaves on request."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from audio_text.domain.formats import TranscriptFormat, render
from audio_text.domain.transcript import Segment
from factories import make_segment

JOB_ID = "3f6c2a1e-0000-4000-8000-000000000001"
PART_BYTES = 16 * 1024 * 1024
BROKEN = 599
"""No status: the connection breaks instead of an answer."""


def update(status: str, progress: float, *numbers: int, event_id: str | None = None) -> dict[str, Any]:
    return {
        "type": "job_update",
        "job_id": JOB_ID,
        "status": status,
        "progress": progress,
        "message": status,
        "event_id": event_id,
        "segments": msgspec.to_builtins([make_segment(number) for number in numbers]),
        "a_later_field": True,
    }


class StubService:
    """Answers as the contract says, but for `troubles` and `refusal`; `requests` are all that came.

    `connections` scripts each socket in turn: messages, then a close code.
    """

    def __init__(self) -> None:
        self.connections: list[tuple[list[dict[str, Any]], int]] = [([update("completed", 100, 0, 1)], 1000)]
        self.refusal: Callable[[], web.Response] | None = None
        self.outcomes: list[dict[str, Any]] = []
        self.presigned: list[dict[str, Any]] = []
        self.uploaded: list[tuple[bytes, str | None]] = []
        self.submitted: list[dict[str, Any]] = []
        self.cursors: list[str | None] = []
        self.pongs: list[dict[str, Any]] = []
        self.troubles: list[Callable[[], web.Response]] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.jobs: list[str] = []
        self.told: dict[int, Segment] = {}
        self.mailed: list[str] = []
        self.noted: list[dict[str, Any]] = []
        self.parts: dict[int, bytes] = {}
        self.completed: list[str] = []
        self.url = ""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=4 * PART_BYTES, middlewares=[self.trouble])
        app.router.add_post("/api/v1/audio/presigned-url", self.presign)
        app.router.add_put("/upload", self.upload)
        app.router.add_post("/api/v1/job/transcribe", self.submit)
        app.router.add_get("/api/v1/job/status/{job_id}", self.status)
        app.router.add_get("/api/v1/job/ws/{job_id}", self.follow)
        app.router.add_get("/api/v1/job/read", self.read)
        app.router.add_get("/api/v1/job/{job_id}/transcript", self.transcript)
        app.router.add_post("/api/v1/job/{job_id}/email", self.mail)
        app.router.add_patch("/api/v1/job/{job_id}", self.note)
        app.router.add_post("/api/v1/audio/uploads", self.begin)
        app.router.add_post("/api/v1/audio/uploads/{upload_id}/parts", self.sign)
        app.router.add_put("/parts/{number}", self.take)
        app.router.add_post("/api/v1/audio/uploads/{upload_id}/complete", self.complete)
        return app

    @web.middleware
    async def trouble(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with the next of `troubles`, after taking the whole request, before anything works."""
        self.requests.append(request)
        if request.path.startswith("/api/v1/job/ws/") or not self.troubles:
            return await handler(request)
        trouble = self.troubles.pop(0)()
        self.bodies.append(await request.read())
        if trouble.status == BROKEN:
            assert request.transport is not None
            request.transport.abort()
        return trouble

    async def presign(self, request: web.Request) -> web.Response:
        self.presigned.append(await request.json())
        if self.refusal is not None:
            return self.refusal()
        return web.json_response({"url": f"{self.url}/upload?signature=1", "headers": {"X-Bound": "yes"}})

    async def upload(self, request: web.Request) -> web.Response:
        assert request.headers["X-Bound"] == "yes"
        assert request.content_length is not None
        self.uploaded.append((await request.read(), request.headers.get("Content-Type")))
        return web.Response()

    async def submit(self, request: web.Request) -> web.Response:
        self.submitted.append(await request.json())
        return web.json_response(self.job("pending"), status=201)

    async def status(self, request: web.Request) -> web.Response:
        measured = {"duration": 4.0, "processing_time_seconds": 0.5}
        outcome = self.outcomes.pop(0) if self.outcomes else {}
        return web.json_response(self.job("completed") | measured | outcome)

    async def read(self, request: web.Request) -> web.Response:
        first, size = int(request.query.get("cursor", 0)), int(request.query.get("limit", 2))
        following = first + size
        query = {**request.query, "cursor": str(following)}
        more = f'<{request.path}?{urlencode(query)}>; rel="next"' if following < len(self.jobs) else ""
        page = [self.job("completed") | {"id": job_id} for job_id in self.jobs[first:following]]
        return web.json_response(page, headers={"Link": more} if more else {})

    async def transcript(self, request: web.Request) -> web.Response:
        segments = [self.told[number] for number in sorted(self.told)]
        return web.Response(text=render(TranscriptFormat(request.query["format"]), segments))

    async def mail(self, request: web.Request) -> web.Response:
        self.mailed.append((await request.json())["email"])
        return web.json_response({"success": True, "message": "It is on its way."})

    async def note(self, request: web.Request) -> web.Response:
        self.noted.append(await request.json())
        return web.json_response(self.job("pending"))

    async def begin(self, request: web.Request) -> web.Response:
        size = (await request.json())["file_size"]
        count = -(-size // PART_BYTES)
        url = f"{self.url}/whole"
        answer = {"id": "a/b", "url": url, "part_size": PART_BYTES, "part_count": count, "is_complete": False}
        return web.json_response(answer, status=201)

    async def sign(self, request: web.Request) -> web.Response:
        numbers = (await request.json())["numbers"]
        links = [{"number": n, "url": f"{self.url}/parts/{n}", "headers": {"X-Bound": "yes"}} for n in numbers]
        return web.json_response({"parts": links})

    async def take(self, request: web.Request) -> web.Response:
        assert request.headers["X-Bound"] == "yes"
        self.parts[int(request.match_info["number"])] = await request.read()
        return web.Response()

    async def complete(self, request: web.Request) -> web.Response:
        self.completed.append(request.match_info["upload_id"])
        return web.json_response({})

    def job(self, status: str) -> dict[str, Any]:
        return {
            "id": JOB_ID,
            "filename": self.submitted[-1]["filename"] if self.submitted else "talk.wav",
            "status": status,
            "whisper_model": "demo",
            "language": "en",
            "real_time_factor": 0.125,
            "error_message": None,
        }

    async def follow(self, request: web.Request) -> web.StreamResponse:
        self.cursors.append(request.query.get("last_event_id"))
        messages, code = self.connections.pop(0) if self.connections else ([], 404)
        if code < 1000:
            return web.json_response({"detail": "There is no job with this id."}, status=code)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for message in messages:
            segments = msgspec.convert(message.get("segments", ()), tuple[Segment, ...])
            self.told |= {segment.id: segment for segment in segments}
            await socket.send_json(message)
            if message["type"] == "ping":
                self.pongs.append(await socket.receive_json())
            if message["type"] == "hang":
                await socket.receive()
        await socket.close(code=code, message=b"as scripted")
        return socket


@asynccontextmanager
async def stub_service(certificate: ssl.SSLContext | None = None) -> AsyncIterator[StubService]:
    stub = StubService()
    runner = web.AppRunner(stub.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate)
    await site.start()
    host, port = runner.addresses[0][:2]
    stub.url = f"{'https' if certificate else 'http'}://{host}:{port}"
    yield stub
    await runner.cleanup()
