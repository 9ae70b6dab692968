"""What the OpenAPI document says of OpenAI's addresses and no route tells: their forms, and all their answers."""

from typing import Any

from audio_text.api.openai import fields, models, refusals, replies
from audio_text.api.sse import described_stream

MODULES = (fields, models, refusals, replies)
"""Whose Structs are schemas."""

_FILE = {
    "type": "string",
    "format": "binary",
    "description": "The recording. Its kind is told by its name, its type or how it begins.",
}
_FORMS = {"/v1/audio/transcriptions": "TranscriptionForm", "/v1/audio/translations": "TranslationForm"}
_TEXT = {"schema": {"type": "string"}, "examples": {"text": {"value": "Good morning."}}}
_DELTAS = described_stream(
    "TextDelta",
    "TextDone",
    "ErrorAnswer",
    example={"data": '{"type":"transcript.text.delta","delta":"Good morning."}'},
)


def complete(document: dict[str, Any]) -> None:
    """Add forms and answers to a document in which the schemas stand already."""
    for path, form in _FORMS.items():
        schema = document["components"]["schemas"][form]
        schema["properties"] = {"file": _FILE} | schema["properties"]
        schema["required"] = ["file", *schema["required"]]
        operation = document["paths"][path]["post"]
        operation["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"$ref": f"#/components/schemas/{form}"}}},
        }
        operation["responses"]["200"]["content"] = _answers(is_streamed=form == "TranscriptionForm")
    for path in (path for path in document["paths"] if path.startswith(refusals.PREFIX)):
        for operation in document["paths"][path].values():
            _give_back_nulls(operation["responses"])


def _give_back_nulls(responses: dict[str, Any]) -> None:
    """Every field of an error is always there, but the framework leaves nulls out of examples."""
    for answer in responses.values():
        for example in answer.get("content", {}).get("application/json", {}).get("examples", {}).values():
            if "error" in example["value"]:
                example["value"]["error"].setdefault("param", None)


def _answers(*, is_streamed: bool) -> dict[str, Any]:
    names = ("Transcription", "VerboseTranscription")
    json = {"schema": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}}
    answers = {"application/json": json, "text/plain": _TEXT}
    return answers | (_DELTAS if is_streamed else {})
