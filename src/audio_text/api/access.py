"""Who may call what: the decision that every route carries, as `opt={"access": Access.…}`."""

from enum import StrEnum

OPTION = "access"
"""What it is called among a handler's options."""

ALSO_OPTION = "also_access"
"""A second decision that has to hold as well, where a route does two things."""

TICKET_OPTION = "ticket"
"""Whether a ticket is taken as well; sockets always take one."""

DOWNLOAD_OPTION = "download"
"""Whether the answer is sent in parts for as long as its reader takes: it has a place among those of its caller."""


class Access(StrEnum):
    """What a caller needs; a route without a decision is refused to everybody, and fails a test."""

    public = "public"
    """Nothing: whether the service lives, and what it is."""

    signed = "signed"
    """A link that this service signed, and nothing else: stores take no keys."""

    submit = "submit"
    """A key that may bring work, and change or remove what its owner brought."""

    read = "read"
    """A key that may see what its owner has."""

    admin = "admin"
    """A key of an operator, who sees everybody's."""
