"""Python loads this at start where its folder is on PYTHONPATH: every connection is written down and refused.

What is refused is raised where it was tried, and a line in the file NETWORK_USE tells of it even where that was caught.
Audit hooks (PEP 578) see every connection that Python makes and cannot be taken off; child processes load this, too.
"""

import os
import socket
import sys

WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")
USE = os.environ["NETWORK_USE"]


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event not in WATCHED:
        return
    if isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX:
        return  # between processes of this machine
    file = os.open(USE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event} {arguments[1:] if event.startswith('socket.s') else arguments}\n".encode())
    os.close(file)
    raise OSError(f"no network in this test: {event}")


sys.addaudithook(refuse)
