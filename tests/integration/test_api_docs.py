"""The pages that show the OpenAPI document need nobody else."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from audio_text.api.docs import ASSETS
from audio_text.settings import Settings
from services.api import Api, api_process, running
from services.programs import require

PAGES = ("/docs", "/redoc")


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_asks_for_files_of_this_service_only(shared_api: Api, page: str) -> None:
    answer = await shared_api.client.get(page)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert addresses
    for address in addresses:
        assert address == "data:," or (await shared_api.client.get(address)).status_code == 200


async def test_every_vendored_file_has_its_licence() -> None:
    licences = {path.name for path in (ASSETS / "LICENSES").iterdir()}
    assert licences >= {"swagger-ui.LICENSE.txt", "swagger-ui.NOTICE.txt", "redoc.LICENSE.txt", "VERSIONS.txt"}
    assert not list(ASSETS.rglob("*.map"))


async def test_docs_can_be_switched_off(shared_api_settings: Settings) -> None:
    settings = replace(shared_api_settings, api=replace(shared_api_settings.api, docs=False))
    async with running(settings) as api:
        for path in (*PAGES, "/openapi.json", "/docs/assets/redoc.js"):
            assert (await api.client.get(path)).status_code == 404


async def test_the_upload_route_exists_with_the_disk_store_only(shared_api_settings: Settings) -> None:
    settings = msgspec.convert(
        msgspec.to_builtins(shared_api_settings)
        | {"store": msgspec.to_builtins(shared_api_settings.store) | {"kind": "s3"}},
        Settings,
    )
    async with running(settings) as api:
        assert (await api.client.put("/api/v1/audio/upload/uploads/2b/x.wav", content=b"x")).status_code == 404
        assert "/api/v1/audio/upload/{key}" not in (await api.client.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize(("page", "rendered"), [("/docs", "Submit a job"), ("/redoc", "Submit a job")])
def test_a_browser_renders_it(shared_api_settings: Settings, tmp_path: Path, page: str, rendered: str) -> None:
    require("chromium")
    with api_process(shared_api_settings, tmp_path) as api:
        browser = subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={tmp_path / 'browser'}",
                "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
                "--enable-logging=stderr",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"http://{api.address}{page}",
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    assert rendered in browser.stdout
    assert "CONSOLE" not in browser.stderr
