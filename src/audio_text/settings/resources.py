"""Files that travel with the package."""

from pathlib import Path

from audio_text.errors import ConfigurationError

PACKAGE = Path(__file__).parents[1]


def resource(name: str) -> Path:
    """Find `settings.toml` or `migrations`: in a wheel under audio_text/data, in a checkout at its root.

    Raises ConfigurationError when neither has it.
    """
    places = (PACKAGE / "data" / name, PACKAGE.parents[1] / name)
    for place in places:
        if place.exists():
            return place
    raise ConfigurationError(f'The installation is incomplete: "{name}" is missing. Install audio-text again.')
