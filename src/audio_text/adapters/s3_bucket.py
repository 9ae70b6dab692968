"""The bucket: made when missing, with a CORS rule for browsers' uploads and a lifecycle rule as a safety net."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore ships none

from audio_text.adapters.s3_client import S3Client, S3Operation, code_of
from audio_text.domain.object_keys import UPLOAD_PREFIX

log = structlog.get_logger(__name__)

RULE_ID = "audio-text"
"""Rules of that name are ours to change; all others stay as they are."""

DEFAULT_REGION = "us-east-1"
"""S3 refuses this one as a location constraint: it is where a bucket goes that names none."""

PREFLIGHT_SECONDS = 3_600

UNFINISHED_DAYS = 1
"""No upload takes so long: its process was killed."""

OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "OperationAborted"})
"""Another process was faster."""

NO_LOCATIONS = frozenset({"InvalidLocationConstraint", "IllegalLocationConstraintException"})
NO_RULES = frozenset({"NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration"})
NOT_OURS_TO_SET = frozenset({"AccessDenied", "403", "NotImplemented", "501", "MethodNotAllowed", "405"})
"""Keys that may only touch objects, and servers that do not have such rules."""

Rule = Mapping[str, Any]


async def create_bucket(client: S3Client, bucket: str, *, region: str) -> None:
    """Create the bucket unless it exists; processes may do it at the same time. Raises botocore's errors."""
    try:
        await client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if code_of(error) not in {"404", "NoSuchBucket"}:
            raise
        await _create(client, bucket, region)


async def _create(client: S3Client, bucket: str, region: str) -> None:
    location = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != DEFAULT_REGION else {}
    try:
        await client.create_bucket(Bucket=bucket, **location)
    except ClientError as error:
        code = code_of(error)
        if code in NO_LOCATIONS and location:
            await _create(client, bucket, DEFAULT_REGION)
        elif code in OURS_ALREADY:
            await client.head_bucket(Bucket=bucket)
        else:
            raise


async def set_cors_rule(client: S3Client, bucket: str, *, origins: Sequence[str]) -> None:
    """Let browsers of these origins upload; with none, take the rule away."""
    ours = {
        "ID": RULE_ID,
        "AllowedOrigins": list(origins),
        "AllowedMethods": ["PUT", "GET", "HEAD"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": PREFLIGHT_SECONDS,
    }
    try:
        present = await _rules(client.get_bucket_cors, bucket, "CORSRules")
        wanted = _replaced(present, ours if origins else None)
        if wanted == present:
            return
        if wanted:
            await client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": wanted})
        else:
            await client.delete_bucket_cors(Bucket=bucket)
    except ClientError as error:
        _forgive(error, rule="cors")


async def set_lifecycle_rule(client: S3Client, bucket: str, *, days: int) -> None:
    """Let the server delete recordings after so many days, with 0 never; and what was not written to its end."""
    ours = {
        "ID": RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": UPLOAD_PREFIX},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    } | ({"Expiration": {"Days": days}} if days else {})
    try:
        present = await _rules(client.get_bucket_lifecycle_configuration, bucket, "Rules")
        wanted = _replaced(present, ours)
        if wanted != present:
            configuration = {"Rules": wanted}
            await client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=configuration)
    except ClientError as error:
        _forgive(error, rule="lifecycle")


async def _rules(read: S3Operation, bucket: str, name: str) -> list[Rule]:
    try:
        return list((await read(Bucket=bucket)).get(name, []))
    except ClientError as error:
        if code_of(error) in NO_RULES:
            return []
        raise


def _replaced(present: Sequence[Rule], ours: Rule | None) -> list[Rule]:
    """The rules with ours as it should be, in its old place, or last."""
    if ours is None:
        return [rule for rule in present if rule.get("ID") != RULE_ID]
    wanted = [ours if rule.get("ID") == RULE_ID and not _is_same(rule, ours) else rule for rule in present]
    return wanted if any(rule.get("ID") == RULE_ID for rule in wanted) else [*wanted, ours]


def _is_same(rule: Rule, other: Rule) -> bool:
    """Whether they say the same; servers keep lists in an order of their own."""
    return _in_order(rule) == _in_order(other)


def _in_order(rule: Rule) -> dict[str, object]:
    return {
        name: sorted(cast("list[str]", value)) if isinstance(value, list) else value for name, value in rule.items()
    }


def _forgive(error: ClientError, *, rule: str) -> None:
    """The service works without the rule where somebody else looks after it; an operator should know."""
    if code_of(error) not in NOT_OURS_TO_SET:
        raise error
    log.warning("bucket_rule_not_set", rule=rule, code=code_of(error))
