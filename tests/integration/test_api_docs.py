"""The OpenAPI document is complete, and the pages that show it need nobody else."""

import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from audio_text.api.docs import ASSETS
from audio_text.settings import Settings
from services.api import Api, api_process, in_one_task, running
from services.programs import require

PAGES = ("/docs", "/redoc")


@pytest.fixture(scope="module")
async def shared_api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(shared_api_settings)) as api:
        yield api


@pytest.fixture(scope="module")
async def document(shared_api: Api) -> dict[str, Any]:
    answer = await shared_api.client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


async def test_it_is_openapi_3_1_and_names_every_route_of_the_contract(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {name for name, _ in operations(document)} >= {
        "get /",
        "get /api/v1",
        "get /health/live",
        "get /health/ready",
        "post /api/v1/audio/presigned-url",
        "get /api/v1/audio/get_presigned_url",
        "put /api/v1/audio/upload/{key}",
        "post /api/v1/audio/uploads",
        "get /api/v1/audio/uploads/{upload_id}",
        "delete /api/v1/audio/uploads/{upload_id}",
        "post /api/v1/audio/uploads/{upload_id}/parts",
        "post /api/v1/audio/uploads/{upload_id}/complete",
        "post /api/v1/job/transcribe",
        "get /api/v1/job/status/{job_id}",
        "get /api/v1/job/read",
        "post /api/v1/job/{job_id}/email",
        "post /api/v1/job/{job_id}/cancel",
        "post /api/v1/job/{job_id}/retry",
        "delete /api/v1/job/{job_id}",
        "get /api/v1/job/{job_id}/attempts",
        "post /v1/audio/transcriptions",
        "post /v1/audio/translations",
        "get /v1/models",
        "get /v1/models/{model}",
        "get /api/v1/job/{job_id}/transcript",
    }


async def test_every_route_and_parameter_is_described_with_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter)
            assert parameter.get("examples") or parameter.get("example"), (name, parameter)


async def test_every_field_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, meaning in schema.get("properties", {}).items():
            assert meaning.get("description") or field == "type", (name, field)


async def test_every_error_is_documented_in_the_shape_of_its_address(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name != "get /health/ready":
                kind, shape = "application/problem+json", "Problem"
                if " /v1/" in name:
                    kind, shape = "application/json", "ErrorAnswer"
                content = answer["content"][kind]
                assert content["schema"] == {"$ref": f"#/components/schemas/{shape}"}, (name, status)
                assert len(answer["content"]) == 1


async def test_a_transcript_is_offered_in_each_of_its_media_types(document: dict[str, Any]) -> None:
    answers = document["paths"]["/api/v1/job/{job_id}/transcript"]["get"]["responses"]
    assert set(answers["200"]["content"]) == {
        "application/json",
        "application/x-subrip",
        "text/plain",
        "text/tab-separated-values",
        "text/vtt",
    }
    assert set(answers["200"]["headers"]) >= {"ETag", "Link", "Transcript-Status"}
    assert set(answers) >= {"304", "400", "404", "406", "409", "503"}


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference


async def test_bounds_of_optional_fields_are_told(document: dict[str, Any]) -> None:
    beam_size = document["components"]["schemas"]["TranscribeRequest"]["properties"]["beam_size"]
    assert {"type": "integer", "minimum": 1, "maximum": 20} in beam_size["anyOf"]


async def test_forms_are_described_with_their_file_and_all_that_they_may_be_answered_with(
    document: dict[str, Any],
) -> None:
    operation = document["paths"]["/v1/audio/transcriptions"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][form]
    assert {"file", "model"} == set(schema["required"])
    assert {"language", "response_format", "stream", "timestamp_granularities"} <= schema["properties"].keys()
    assert operation["responses"]["200"]["content"].keys() == {"application/json", "text/plain", "text/event-stream"}
    assert "202" in operation["responses"]


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
