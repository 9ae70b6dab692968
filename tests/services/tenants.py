"""Two owners with keys of a real service, and what the first of them has."""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import media
from audio_text.bootstrap import open_keys, open_resources
from audio_text.domain.access import Scope
from audio_text.domain.job import Completed, Failed
from audio_text.ports import Claim, Resources
from audio_text.services.access import AccessService
from audio_text.settings import Settings
from factories import make_chunk, make_job, make_segment
from services.api import SIGNING_KEY, ApiProcess
from services.live import BROKEN

UNKNOWN = [f"6d8b1f6e-0000-4000-8000-00000000000{number}" for number in range(3)]
WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here speaks it, and each client would read all certificates of the system for itself, which takes 40 ms."""

SECRET = "what ada said to nobody else"
"""In everything of hers that a transcript, a name or a note may show."""


@dataclass(frozen=True)
class Belongings:
    """What Ada has: jobs that wait, are done and were given up, uploads, a batch, a key, a webhook and its call."""

    pending: str
    done: str
    dead: str
    upload_url: str
    upload_id: str
    batch: str
    key: str
    webhook: str
    delivery: str

    @property
    def unknown(self) -> "Belongings":
        """The same of nobody."""
        return Belongings(*UNKNOWN, f"{self.upload_url.partition('?')[0]}0", "bm9ib2R5", *UNKNOWN, UNKNOWN[0])

    @property
    def words(self) -> list[str]:
        """What nobody else may be told, in any form."""
        ids = [self.pending, self.done, self.dead, self.upload_id, self.batch, self.key, self.webhook, self.delivery]
        return [SECRET, self.upload_url.partition("?")[0], *ids]


@dataclass(frozen=True)
class Case:
    """How to call a route with what somebody has, and what a stranger gets who does.

    Streams have to end by themselves for a stranger. `says` is sent over a socket that was opened.
    """

    path: Callable[[Belongings], str]
    stranger: int = 404
    json: Callable[[Belongings], object] | None = None
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    says: Callable[[Belongings], object] | None = None

    def asked(self, has: Belongings) -> str:
        """All that names what somebody has."""
        return str([self.path(has), *(part(has) for part in (self.json, self.says) if part is not None)])


@dataclass(frozen=True)
class Answer:
    """All that a client was told: HTTP's answer, or what came over a socket and the code that closed it."""

    status: int
    body: str
    headers: str

    def same_as(self, other: "Answer", mine: Belongings, theirs: Belongings) -> bool:
        """Whether both say the same, but for the ids that were asked for, times, and the request's own id."""
        return (self.status, _plain(self.body, mine)) == (other.status, _plain(other.body, theirs))


@dataclass(frozen=True)
class Tenants:
    """The service, and a secret of each kind."""

    server: ApiProcess
    resources: Resources
    access: AccessService
    keys: Mapping[str, str]

    async def ada_has(self) -> Belongings:
        """Make all of it anew."""
        url = await self._uploaded()
        async with self.client("ada") as client:
            begun = await client.post("/api/v1/audio/uploads", json={"filename": "a.wav", "file_size": 9_000_000})
        upload_id = begun.raise_for_status().json()["id"]
        pending, done, dead = [await self._job(state) for state in ("pending", "done", "dead")]
        jobs = {"jobs": [{"filename": f"{SECRET}.wav", "url": await self._uploaded()}], "description": SECRET}
        async with self.client("ada") as client:
            batch = (await client.post("/api/v1/batches", json=jobs)).raise_for_status().json()["id"]
            called = {"url": "https://93.184.216.34/called", "description": SECRET}
            hook = (await client.post("/api/v1/webhooks", json=called)).raise_for_status().json()["id"]
            delivery = (await client.post(f"/api/v1/webhooks/{hook}/test")).raise_for_status().json()["id"]
        key, _ = await self.access.create(owner="ada", name=SECRET, scopes=frozenset({Scope.read}))
        return Belongings(
            pending,
            done,
            dead,
            upload_url=url,
            upload_id=upload_id,
            batch=batch,
            key=key.id,
            webhook=hook,
            delivery=delivery,
        )

    def client(self, who: str | None) -> httpx.AsyncClient:
        address, headers = f"http://{self.server.address}", self._headers(who)
        return httpx.AsyncClient(base_url=address, headers=headers, timeout=60, verify=WITHOUT_TLS)

    async def call(self, name: str, case: Case, has: Belongings, *, who: str | None) -> Answer:
        """Call the route as somebody, with what is or is not theirs."""
        method, path = name.partition(" ")[0], case.path(has)
        if method == "WS":
            return await self._talk(path, case.says(has) if case.says else None, who=who)
        body = {"json": case.json(has)} if case.json else {}
        async with self.client(who) as client, client.stream(method, path, **body, **case.request) as answer:
            text = (
                ""
                if answer.headers.get("Content-Type", "").startswith("text/event-stream") and who == "ada"
                else (await answer.aread()).decode(errors="replace")
            )
            return Answer(answer.status_code, text, str(answer.headers.raw))

    def _headers(self, who: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"} if who else {}

    async def _talk(self, path: str, says: object, *, who: str | None) -> Answer:
        told: list[str] = []
        url = f"ws://{self.server.address}{path}"
        async with connect(url, additional_headers=self._headers(who), proxy=None, open_timeout=30) as socket:
            if says is not None:
                with suppress(ConnectionClosed):  # what it was told before that is still to be read
                    await socket.send(json.dumps(says))
            while True:
                try:
                    told.append(str(await socket.recv()))
                except ConnectionClosed as closed:
                    reason = closed.rcvd.reason if closed.rcvd else ""
                    return Answer(closed.rcvd.code if closed.rcvd else BROKEN, "\n".join([*told, reason]), "")
                kinds = [json.loads(text)["type"] for text in told]
                if "connected" in kinds and ("job_update" in kinds or ("error" in kinds and says is not None)):
                    await socket.close()
                    return Answer(1000, "\n".join(told), "")

    async def _uploaded(self) -> str:
        data = media.wav()
        async with self.client("ada") as client:
            asked = {"filename": "a.wav", "content_type": "audio/wav", "file_size": len(data)}
            answer = await client.post("/api/v1/audio/presigned-url", json=asked)
            target = answer.raise_for_status().json()
        async with httpx.AsyncClient(verify=WITHOUT_TLS) as anybody:
            (await anybody.put(target["url"], content=data, headers=target["headers"])).raise_for_status()
        return target["url"]

    async def _job(self, state: str) -> str:
        jobs, tier = self.resources.jobs, f"tier_{uuid4().hex}"
        job = make_job(owner="ada", tier=tier, filename=f"{SECRET}.wav", description=SECRET, metadata={"note": SECRET})
        await jobs.add(job)
        if state == "pending":
            return job.id
        claimed = await jobs.claim(tier, owner="a worker", lease_seconds=60)
        assert claimed is not None
        claim = Claim(claimed.id, claimed.claims)
        assert await jobs.record(claim, make_chunk(make_segment(0, text=f" {SECRET}")))
        if state == "done":
            assert await jobs.complete(claim, _completed())
        else:
            failure = Failed(
                error_code="out_of_memory", error_message=SECRET, processing_time_seconds=0.1, is_dead_letter=True
            )
            assert await jobs.fail(claim, failure)
        return job.id


@asynccontextmanager
async def tenants(server: ApiProcess) -> AsyncIterator[Tenants]:
    """Give keys to two owners of a service that asks for them."""
    async with (
        open_resources(server.settings, name="test", live=False) as resources,
        open_keys(server.settings) as access,
    ):
        scopes = {
            "ada": {Scope.submit, Scope.read},
            "bob": {Scope.submit, Scope.read},
            "ada submit": {Scope.submit},
            "ada read": {Scope.read},
            "ada admin": {Scope.admin},
        }
        keys = {"unknown": "sk-not-known"}
        for who, may in scopes.items():
            _, keys[who] = await access.create(owner=who.partition(" ")[0], name=who, scopes=frozenset(may))
        yield Tenants(server, resources, access, keys)


def without_open_mode(settings: Settings) -> Settings:
    """Have the service ask for keys, and let one owner have as much as all tests make for it.

    What may be switched off is on, or nobody is let in; no worker runs, so nothing is sent.
    """
    webhooks = replace(settings.webhooks, per_owner=1_000)
    secrets = replace(settings.secrets, webhooks_signing_key=SIGNING_KEY)
    access = replace(settings.access, open=False)
    mail = replace(settings.mail, host="mail.test")
    return replace(settings, access=access, mail=mail, webhooks=webhooks, secrets=secrets)


def _completed() -> Completed:
    return Completed(
        result_text=SECRET,
        duration=10.0,
        duration_after_vad=9.0,
        processing_time_seconds=2.5,
        language="en",
        language_probability=0.98,
    )


def _plain(body: str, has: Belongings) -> list[str]:
    for word in has.words:
        body = body.replace(word, "…")
    return sorted(_told(body))


def _told(body: str) -> Iterator[str]:
    own = {"timestamp", "request_id", "instance", "connection_id"}
    for line in body.splitlines():
        text = line.removeprefix("data: ")
        try:
            told = json.loads(text)
        except ValueError:
            yield "" if text.startswith("id: ") else text
        else:
            yield (
                str({name: value for name, value in told.items() if name not in own})
                if isinstance(told, dict)
                else text
            )
