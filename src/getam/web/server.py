"""Gradio's server with the doors closed: loopback, no analytics, no sharing, only what it made itself is served."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from getam.errors import InputError

LOOPBACK = "127.0.0.1"
PORT = 7860


def require_gradio() -> None:
    """Raises `InputError` where Gradio is not installed."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError("the app needs Gradio: pip install 'getam[app]'") from error


@contextmanager
def own_cache() -> Iterator[Path]:
    """A new folder, for this user alone, that Gradio keeps uploads in; at the end it is deleted.

    Gradio looks at the environment when a page is built: build it inside.
    """
    place = Path(tempfile.mkdtemp(prefix="getam-app-"))
    before = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED")}
    os.environ.update(GRADIO_TEMP_DIR=str(place / "cache"), GRADIO_ANALYTICS_ENABLED="False")
    (place / "cache").mkdir()
    try:
        yield place
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(place, ignore_errors=True)


def only_uploads(part: Any) -> Any:
    """Let a part of a page take uploaded files alone: Gradio would fetch an address that is sent in their place.

    Args:
        part: a component, which is changed and returned.
    """
    move = part.async_move_resource_to_block_cache

    async def moved(place: Any) -> Any:
        if "://" in str(place):
            raise InputError("an address is no photo: drop the file itself")
        return await move(place)

    part.async_move_resource_to_block_cache = moved
    return part


def start(page: Any, *, host: str = LOOPBACK, port: int = PORT, max_bytes: int, look: dict[str, Any]) -> str:
    """Serve a page until it is closed, in threads of its own; returns its address.

    Args:
        page: `gradio.Blocks`.
        host: 127.0.0.1 for this machine alone, 0.0.0.0 for whoever reaches it.
        port: 0 for any that is free.
        max_bytes: of one upload; what is larger is refused while it comes in.
        look: theme and css.

    Raises:
        InputError: the port is taken, or the host is none of this machine's.
    """
    try:
        page.launch(
            server_name=host, server_port=port or _free(host), max_file_size=max_bytes, prevent_thread_lock=True,
            quiet=True, share=False, inbrowser=False, allowed_paths=[], ssr_mode=False, enable_monitoring=False,
            mcp_server=False, pwa=False, run_history=False, footer_links=[], strict_cors=True, show_error=True, **look,
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be listened on ({error}): choose another --port, or --host 127.0.0.1"
        ) from error
    return str(page.local_url)


def _free(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
