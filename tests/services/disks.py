"""Disks that are full, and other processes that write to one."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from audio_text.adapters.draft_file import DraftFile
draft = DraftFile(Path(sys.argv[1]), prefix=sys.argv[2])
draft.create()
print(draft.path, flush=True)
sys.stdin.read()
"""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Callable[[], None]]:
    """Make the folder a disk of its own that holds so much; yields how somebody else fills it up.

    Where we may not mount one, no file of this process may have more than half of it, which fails alike (EFBIG).
    """
    folder.mkdir(exist_ok=True)
    if _mount(folder, size_bytes):
        try:
            yield lambda: _fill(folder)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes // 2, hard))
    try:
        yield lambda: None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def draft_of_another_process(folder: Path, prefix: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has begun to write a file there, and goes on until it is killed."""
    arguments = [sys.executable, "-c", WRITER, str(folder), prefix]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert Path(process.stdout.readline().strip()).exists()
            yield process
        finally:
            process.kill()


def _mount(folder: Path, size_bytes: int) -> bool:
    program = shutil.which("mount")
    if os.geteuid() or program is None:
        return False
    arguments = [program, "-t", "tmpfs", "-o", f"size={size_bytes},mode=0777", "tmpfs", str(folder)]
    return subprocess.run(arguments, check=False, capture_output=True).returncode == 0  # a container may not


def _fill(folder: Path) -> None:
    with suppress(OSError), (folder / "somebody-elses").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
