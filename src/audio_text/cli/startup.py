"""What every long-running command does first."""

from audio_text import logs
from audio_text.settings import Role, Settings, from_environment


def start_as(role: Role) -> Settings:
    """Load the settings for a role and send the logs where they say. Raises ConfigurationError."""
    settings = from_environment(role=role).settings
    logs.configure(settings.log.level, settings.log.format)
    return settings
