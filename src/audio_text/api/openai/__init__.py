"""OpenAI's audio interface under /v1: for clients that were written for it, on the same queue as everything else."""

from audio_text.api.openai.audio import transcriptions, translations
from audio_text.api.openai.models import read_model, read_models

ROUTES = (transcriptions, translations, read_models, read_model)

__all__ = ["ROUTES"]
