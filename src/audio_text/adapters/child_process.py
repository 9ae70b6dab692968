"""How a process is started that reads strangers' bytes: a module of ours, with a socket to us and nothing else."""

import socket
import subprocess
import sys


def start_child(module: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start it; our end of the socket, the number of whose other end is its only argument. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                # it finds what we found, and none of our secrets
                env={"PYTHONPATH": ":".join(filter(None, sys.path))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # the terminal's Ctrl-C is for us: the child ends when this end of its socket is closed
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return ours, process
