"""Whose things are meant: those of one owner, of nobody in particular, or all that there are."""

from enum import Enum
from typing import Final


class Everybody(Enum):
    """Everybody's things, whoever has them: a type of its own, for nobody is called like this."""

    everybody = "everybody"


EVERYBODY: Final = Everybody.everybody

Whose = str | Everybody | None
"""An owner's; None: nobody's in particular, which came without a key; EVERYBODY: all of these, and of all owners."""


def is_of(owner: str | None, whose: Whose) -> bool:
    """Whether what has this owner (None: nobody in particular) is among the things that are meant."""
    return whose is EVERYBODY or owner == whose
