from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from audio_text.adapters.s3_bucket import create_bucket, set_cors_rule, set_lifecycle_rule


class OtherServer:
    """The answers of servers that cannot be started here: Amazon's own, and some that lack parts of S3."""

    def __init__(self, **refusals: list[str]) -> None:
        self.refusals = refusals
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def operation(**parameters: Any) -> dict[str, Any]:
            self.requests.append((name, parameters))
            if codes := self.refusals.get(name):
                raise ClientError({"Error": {"Code": codes.pop(0)}}, name)
            return {}

        return operation

    def made(self, name: str) -> list[dict[str, Any]]:
        return [parameters for made, parameters in self.requests if made == name]


async def test_a_bucket_is_made_in_its_region() -> None:
    server = OtherServer(head_bucket=["404"])
    await create_bucket(server, "ours", region="eu-central-1")
    assert server.made("create_bucket") == [
        {"Bucket": "ours", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    ]


async def test_the_first_region_of_all_is_not_named() -> None:
    server = OtherServer(head_bucket=["404"])
    await create_bucket(server, "ours", region="us-east-1")
    assert server.made("create_bucket") == [{"Bucket": "ours"}]


async def test_a_server_without_regions_gets_none() -> None:
    server = OtherServer(head_bucket=["404"], create_bucket=["InvalidLocationConstraint"])
    await create_bucket(server, "ours", region="garage")
    assert server.made("create_bucket")[-1] == {"Bucket": "ours"}


async def test_a_bucket_that_another_process_made_meanwhile_will_do() -> None:
    server = OtherServer(head_bucket=["404"], create_bucket=["BucketAlreadyOwnedByYou"])
    await create_bucket(server, "ours", region="us-east-1")
    assert len(server.made("head_bucket")) == 2


@pytest.mark.parametrize(
    "refusals",
    [
        {"head_bucket": ["403"]},
        {"head_bucket": ["404"], "create_bucket": ["TooManyBuckets"]},
        {"head_bucket": ["404", "403"], "create_bucket": ["BucketAlreadyExists"]},
    ],
)
async def test_a_bucket_that_cannot_be_had_is_an_error(refusals: dict[str, list[str]]) -> None:
    with pytest.raises(ClientError):
        await create_bucket(OtherServer(**refusals), "ours", region="us-east-1")


@pytest.mark.parametrize("code", ["NotImplemented", "501", "MethodNotAllowed", "AccessDenied"])
async def test_a_server_that_has_no_rules_or_keeps_them_to_itself_is_accepted(code: str) -> None:
    server = OtherServer(get_bucket_cors=[code], put_bucket_lifecycle_configuration=[code])
    with capture_logs() as logs:
        await set_cors_rule(server, "ours", origins=["*"])
        await set_lifecycle_rule(server, "ours", days=2)
    assert [(entry["event"], entry["rule"]) for entry in logs] == [
        ("bucket_rule_not_set", "cors"),
        ("bucket_rule_not_set", "lifecycle"),
    ]


async def test_another_refusal_of_a_rule_is_an_error() -> None:
    with pytest.raises(ClientError):
        await set_cors_rule(OtherServer(put_bucket_cors=["MalformedXML"]), "ours", origins=["*"])
    with pytest.raises(ClientError):
        await set_lifecycle_rule(OtherServer(get_bucket_lifecycle_configuration=["SlowDown"]), "ours", days=2)
