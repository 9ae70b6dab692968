"""Run as a script: give up privileges, tie this process's life to its parent's, become another program.

    python -I -S tether.py PARENT_PID DEATH_SIGNAL UID:GID|- PROGRAM [ARGUMENT…]

PROGRAM is a path. A script of its own instead of a `preexec_fn`, which runs Python between fork and exec of a
threaded process. Nothing may be imported after privileges are gone: the new user may not reach Python's library.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal this process gets when its parent dies; kept over exec, cleared by setuid."""

NOT_STARTED = 127
"""What shells say of a program that cannot be started."""


def main(arguments: list[str]) -> None:  # pragma: no cover -- runs without the site module, where nothing measures it
    """Never returns: the process becomes PROGRAM or ends."""
    parent, death_signal, identity, *command = arguments
    if identity != "-":
        uid, gid = map(int, identity.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before prctl could tell us
        sys.exit(NOT_STARTED)
    try:
        os.execv(command[0], command)  # noqa: S606 -- becoming the program is the point
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":  # pragma: no cover -- as above
    main(sys.argv[1:])
