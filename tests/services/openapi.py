"""The OpenAPI document as it is, and its copy in the repository, which this script writes: `just openapi`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from audio_text.api.app import create_app
from factories import make_settings

COPY = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


async def current() -> dict[str, Any]:
    """Give the document; it takes neither servers nor a started application."""
    app = create_app(make_settings({"store.kind": "disk"}))  # the disk store has a route more
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://openapi.test") as client:
        return (await client.get("/openapi.json")).raise_for_status().json()


def written(document: dict[str, Any]) -> str:
    """Write a document as a person likes to read a difference: a line for each thing, and none for a release.

    Names are sorted: the framework keeps headers, and the addresses of one handler, in sets.
    """
    info = document["info"] | {"version": "current"}
    return json.dumps(document | {"info": info}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    COPY.write_text(written(asyncio.run(current())))
