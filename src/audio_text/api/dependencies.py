"""What routes ask for by parameter name: `services`, `caller` and `settings`."""

from typing import cast

from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from litestar.types import Scope

from audio_text.api.authentication import caller_of
from audio_text.bootstrap import ApiServices
from audio_text.domain.access import Caller
from audio_text.settings import Settings

GivenServices = NamedDependency[SkipValidation[ApiServices]]
GivenCaller = NamedDependency[SkipValidation[Caller]]
GivenSettings = NamedDependency[SkipValidation[Settings]]


def _services(state: State) -> ApiServices:
    return cast("ApiServices", state.services)


def _settings(state: State) -> Settings:
    return cast("Settings", state.settings)


def _caller(scope: Scope) -> Caller:
    """Give who was let in; a route that lets in whoever comes has nobody to ask for."""
    caller = caller_of(scope)
    if caller is None:
        raise LookupError("This route asks for no caller: give it another access than public or signed.")
    return caller


PROVIDERS = {
    "caller": Provide(_caller, sync_to_thread=False),
    "services": Provide(_services, sync_to_thread=False),
    "settings": Provide(_settings, sync_to_thread=False),
}
