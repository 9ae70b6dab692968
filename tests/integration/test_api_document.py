"""The OpenAPI document is complete, and its copy in the repository is up to date."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from services.openapi import COPY, current, written

Document = dict[str, Any]


@pytest.fixture(scope="module")
async def document() -> Document:
    return await current()


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def examples(document: Document) -> Iterator[tuple[tuple[str, str], dict[str, Any], Any]]:
    """Every example: where it is, the schema it is for, and itself."""
    for name, schema in document["components"]["schemas"].items():
        for field, meaning in schema.get("properties", {}).items():
            yield from (((name, field), meaning, example) for example in meaning.get("examples", []))
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            for example in parameter["examples"].values():
                yield (name, parameter["name"]), parameter["schema"], example["value"]
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    assert example.keys() <= {"summary", "description", "value"}, name
                    yield (name, status), content["schema"], example["value"]


def headers(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for answer in operation["responses"].values():
        yield from answer.get("headers", {}).items()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


async def test_it_is_openapi_3_1_and_names_every_route_of_the_contract(document: Document) -> None:
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
        "get /api/v1/dead-letters",
        "get /api/v1/dead-letters/{job_id}",
        "post /api/v1/dead-letters/{job_id}/requeue",
        "delete /api/v1/dead-letters/{job_id}",
        "get /api/v1/job/{job_id}/transcript",
    }


async def test_every_route_says_what_it_does_and_which_parameters_it_takes(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["operationId"], name
        assert set(operation["tags"]) <= tags, name
        assert operation["tags"], name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter)
            assert parameter.get("examples") or parameter.get("example"), (name, parameter)
        for header, meaning in headers(operation):
            assert meaning["description"], (name, header)


async def test_every_field_is_described_with_an_example_of_its_own_or_of_what_it_is_made_of(
    document: Document,
) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, meaning in schema.get("properties", {}).items():
            assert meaning.get("description"), (name, field)
            is_file = meaning.get("format") == "binary"
            assert "examples" in meaning or is_file or list(references(meaning)), (name, field)


async def test_examples_have_the_form_of_what_they_are_examples_of(document: Document) -> None:
    registry = jsonschema_rs.Registry([("urn:document", document)])
    for where, schema, example in examples(document):
        absolute = msgspec.json.decode(msgspec.json.encode(schema).replace(b'"#/', b'"urn:document#/'))
        errors = list(jsonschema_rs.Draft202012Validator(absolute, registry=registry).iter_errors(example))
        assert not errors, (where, example, errors[0].message)


async def test_every_error_is_documented_in_the_shape_of_its_address_and_with_examples(document: Document) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            if int(status) >= 400:
                kind, shape = "application/problem+json", "Problem"
                if " /v1/" in name:
                    kind, shape = "application/json", "ErrorAnswer"
                if name == "get /health/ready":
                    kind, shape = "application/json", "Readiness"
                assert answer["content"].keys() == {kind}, (name, status)
                assert answer["content"][kind]["schema"] == {"$ref": f"#/components/schemas/{shape}"}, (name, status)
                assert answer["content"][kind]["examples"], (name, status)


async def test_messages_of_sockets_and_streams_are_among_the_schemas(document: Document) -> None:
    kinds = {
        schema["properties"]["type"]["enum"][0]
        for schema in document["components"]["schemas"].values()
        if "enum" in schema.get("properties", {}).get("type", {})
    }
    assert kinds >= {"connected", "job_update", "ping", "pong", "error", "subscribe", "unsubscribe", "unsubscribed"}
    for path in ("/api/v1/job/{job_id}/events", "/api/v1/job/events"):
        stream = document["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]
        assert set(references(stream)) == {"#/components/schemas/JobUpdateMessage", "#/components/schemas/ErrorMessage"}


async def test_a_transcript_is_offered_in_each_of_its_media_types(document: Document) -> None:
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


async def test_every_reference_leads_somewhere(document: Document) -> None:
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference


async def test_bounds_of_optional_fields_are_told(document: Document) -> None:
    beam_size = document["components"]["schemas"]["TranscribeRequest"]["properties"]["beam_size"]
    assert {"type": "integer", "minimum": 1, "maximum": 20} in beam_size["anyOf"]


async def test_forms_are_described_with_their_file_and_all_that_they_may_be_answered_with(
    document: Document,
) -> None:
    operation = document["paths"]["/v1/audio/transcriptions"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][form]
    assert {"file", "model"} == set(schema["required"])
    assert {"language", "response_format", "stream", "timestamp_granularities"} <= schema["properties"].keys()
    assert operation["responses"]["200"]["content"].keys() == {"application/json", "text/plain", "text/event-stream"}
    assert "202" in operation["responses"]


async def test_the_copy_in_the_repository_is_the_document(document: Document) -> None:
    is_same = COPY.read_text() == written(document)
    assert is_same, f"{COPY.name} is not what the API describes: `just openapi` writes it anew; look at the difference."


async def test_whatever_takes_a_key_tells_of_rates_beside_what_else_is_refused(document: Document) -> None:
    for name, operation in operations(document):
        told = {
            status: {code for content in answer.get("content", {}).values() for code in content.get("examples", {})}
            for status, answer in operation["responses"].items()
        }
        if not operation["security"]:
            assert "429" not in told, name
            continue
        assert "rate_limited" in told["429"], name
        assert told["503"] >= {"database_unavailable", "limits_unavailable"}, name
        is_stream = name in {"get /api/v1/job/{job_id}/events", "get /api/v1/job/events"}
        is_download = name in {"get /api/v1/job/{job_id}/transcript", "get /api/v1/batches/{batch_id}/transcripts"}
        assert ("too_many_connections" in told["429"]) == (is_stream or is_download), name
        assert "tickets_unavailable" in told["503"] or not is_stream, name
        for status, codes in told.items():
            for code in codes if int(status) >= 400 else ():
                assert f"`{code}`" in operation["responses"][status]["description"], (name, code)
    submit = document["paths"]["/api/v1/job/transcribe"]["post"]["responses"]["429"]
    codes = submit["content"]["application/problem+json"]["examples"].keys()
    assert codes == {"rate_limited", "concurrent_jobs_exceeded", "audio_quota_exceeded"}


async def test_a_key_of_a_batch_leads_to_a_batch(document: Document) -> None:
    for path, outcome in (("/api/v1/job/transcribe", "the same job"), ("/api/v1/batches", "the same batch")):
        parameters = document["paths"][path]["post"]["parameters"]
        (key,) = [parameter for parameter in parameters if parameter["name"] == "Idempotency-Key"]
        assert outcome in key["description"]
