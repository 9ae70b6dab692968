"""What Piccolo calls an app: the tables, and the folder of their migrations."""

from piccolo.conf.apps import AppConfig

from audio_text.adapters.tables import (
    ApiKey,
    Batch,
    Delivery,
    IdempotencyKey,
    KeyUsage,
    TranscriptionAttempt,
    TranscriptionJob,
    TranscriptionSegment,
    WebhookEndpoint,
)
from audio_text.settings import resource

APP_CONFIG = AppConfig(
    app_name="audio_text",
    migrations_folder_path=resource("migrations"),
    table_classes=[
        TranscriptionJob,
        TranscriptionSegment,
        TranscriptionAttempt,
        IdempotencyKey,
        ApiKey,
        KeyUsage,
        WebhookEndpoint,
        Delivery,
        Batch,
    ],
)
