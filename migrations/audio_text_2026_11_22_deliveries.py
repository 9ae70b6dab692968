from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import JSONB, Column, ForeignKey, Integer, OnDelete, Timestamptz, Varchar
from piccolo.constraints import Unique
from piccolo.table import Table

ID = "2026-11-22T20:30:00:000022"
VERSION = "1.38.0"
DESCRIPTION = "Endpoints of webhooks, and what is stored until somebody has taken it"


class WebhookEndpoint(Table, tablename="webhook_endpoint"):
    id = Varchar(length=None, default=None, primary_key=True)


WORD = {"length": None, "default": None}
TIME = {"default": None}
MAYBE = {"null": True}
COUNT = {"default": 0}

Columns = list[tuple[str, type[Column], dict[str, Any]]]

ENDPOINT: Columns = [
    ("id", Varchar, WORD | {"primary_key": True}),
    ("url", Varchar, WORD),
    ("events", JSONB, {"default": None}),
    ("created_at", Timestamptz, TIME),
    ("owner", Varchar, WORD | MAYBE),
    ("description", Varchar, WORD | MAYBE),
    ("secret_version", Integer, {"default": 1}),
    ("overlap_until", Timestamptz, TIME | MAYBE),
    ("state", Varchar, {"length": None, "default": "enabled"}),
    ("paused_at", Timestamptz, TIME | MAYBE),
    ("paused_reason", Varchar, WORD | MAYBE),
    ("failures", Integer, COUNT),
    ("failing_since", Timestamptz, TIME | MAYBE),
]

DELIVERY: Columns = [
    ("id", Varchar, WORD | {"primary_key": True}),
    ("kind", Varchar, WORD),
    ("lane", Varchar, WORD),
    ("event_type", Varchar, WORD),
    ("event_id", Varchar, WORD),
    ("payload", JSONB, {"default": None}),
    ("created_at", Timestamptz, TIME),
    ("due_at", Timestamptz, TIME),
    ("subject", Varchar, WORD | MAYBE),
    ("owner", Varchar, WORD | MAYBE),
    ("endpoint_id", ForeignKey, {"references": WebhookEndpoint, "on_delete": OnDelete.cascade, "null": True}),
    ("recipient", Varchar, WORD | MAYBE),
    ("status", Varchar, {"length": None, "default": "pending"}),
    ("attempts", Integer, COUNT),
    ("claims", Integer, COUNT),
    ("lease_expires_at", Timestamptz, TIME | MAYBE),
    ("status_code", Integer, {"default": None, "null": True}),
    ("error", Varchar, WORD | MAYBE),
    ("log", JSONB, {"default": "[]"}),
    ("finished_at", Timestamptz, TIME | MAYBE),
]

async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    for class_name, tablename, columns in (
        ("WebhookEndpoint", "webhook_endpoint", ENDPOINT),
        ("Delivery", "delivery", DELIVERY),
    ):
        manager.add_table(class_name, tablename)
        for name, column_class, params in columns:
            manager.add_column(class_name, tablename, name, column_class=column_class, params=params)
    manager.add_constraint(
        "Delivery",
        "delivery",
        "delivery_once",
        constraint_class=Unique,
        params={"columns": ["endpoint_id", "event_id"]},
    )
    return manager
