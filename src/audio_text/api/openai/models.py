"""The models that jobs may ask for, and OpenAI's names for them."""

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.openapi.spec import Example
from litestar.params import PathParameter
from msgspec import Meta

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenSettings
from audio_text.api.openai.refusals import refused
from audio_text.errors import InvalidRequestError, UnknownModelError
from audio_text.settings import Settings

OWNER = "audio-text"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model."""

    id: Annotated[str, Meta(description="Its name.", examples=["whisper-1"])]
    object: Annotated[Literal["model"], Meta(description="Always `model`.", examples=["model"])] = "model"
    created: Annotated[int, Meta(description="Always 0: when it was made is not known.", examples=[0])] = 0
    owned_by: Annotated[str, Meta(description="Always `audio-text`.", examples=[OWNER])] = OWNER


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models."""

    object: Annotated[Literal["list"], Meta(description="Always `list`.", examples=["list"])] = "list"
    data: Annotated[tuple[Model, ...], Meta(description="Ours by name, then OpenAI's names for them.")]


@get(
    "/models",
    opt={"access": Access.read},
    summary="List the models",
    response_description="All of them.",
    tags=["openai"],
)
async def read_models(settings: GivenSettings) -> ModelList:
    """List what `model` may be: the models of this service, and OpenAI's names that stand for one of them."""
    return ModelList(data=tuple(Model(id=name) for name in _names(settings)))


@get(
    "/models/{model:path}",
    opt={"access": Access.read},
    summary="Read a model",
    response_description="The model.",
    responses=refused(InvalidRequestError, UnknownModelError),
    tags=["openai"],
)
async def read_model(
    model: Annotated[str, PathParameter(description="Its name.", examples=[Example(value="whisper-1")])],
    settings: GivenSettings,
) -> Model:
    """Tell whether there is a model of this name."""
    name = model.removeprefix("/")
    if name not in _names(settings):
        settings.route(name)  # raises, naming what is offered
    return Model(id=name)


def _names(settings: Settings) -> list[str]:
    return list(dict.fromkeys([*settings.models, *settings.openai.aliases]))
