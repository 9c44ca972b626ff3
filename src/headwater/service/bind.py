"""Listening sockets, bound before anything is started so that a port in use is told in one sentence."""

import socket

from headwater.model.errors import UsageError


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A bound socket; port 0 = a free one. UsageError names the flag if the port is taken or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}; choose another with {flag}, 0 = a free one") from error
    return held
