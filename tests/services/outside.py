"""Somebody else's servers: they say what a test writes down for them, byte by byte."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from services.programs import require

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: bytes = b"", *headers: str) -> Script:
    """A whole answer, with its length."""
    return raw(head(status, f"Content-Length: {len(body)}", *headers) + body)


def head(status: int, *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Said", *headers, "")).encode()


def raw(data: bytes) -> Script:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return write


class Outside:
    """A server; `pages` are its answers by path, `requests` the heads and bodies that came."""

    def __init__(self) -> None:
        self.pages: dict[str, Script] = {}
        self.requests: list[bytes] = []
        self.sni: list[str | None] = []
        self.port = 0

    @property
    def paths(self) -> list[str]:
        return [request.split(b" ", 2)[1].decode() for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await reader.readuntil(b"\r\n\r\n")
                for line in request.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        request += await reader.readexactly(int(line.partition(b":")[2]))
                self.requests.append(request)
                await self.pages.get(self.paths[-1], answer(404))(writer)
        finally:
            writer.close()


@asynccontextmanager
async def serve_outside(
    certificate: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Outside]:
    outside = Outside()
    if certificate is not None:
        certificate.sni_callback = lambda _socket, name, _context: outside.sni.append(name)
    server = await asyncio.start_server(outside.serve, host, port, ssl=certificate)
    async with server:
        outside.port = server.sockets[0].getsockname()[1]
        yield outside


def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context and the file that trusts it."""
    require("openssl")
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", *options, *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
