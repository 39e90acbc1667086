"""Downloads against a local server: continued after a broken connection, checked, set aside when wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from getam.data.official import download as module
from getam.data.official.download import PART, WRONG, download
from getam.errors import InputError

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; its server's `breaks` says after how many bytes each connection ends."""

    def do_GET(self) -> None:
        server: Any = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if self.path != "/file":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.breaks, made.ranges = [], [], True
    made.url = f"http://127.0.0.1:{made.server_address[1]}/file"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_goes_on_where_the_connection_broke(server: Any, tmp_path: Path) -> None:
    server.breaks = [1000, 3000]
    there: list[int] = []
    download(server.url, tmp_path / "new" / "a.tar", MD5, there.append)
    assert (tmp_path / "new" / "a.tar").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=4000-"]
    assert there[-1] == len(CONTENT)
    assert there == sorted(there)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["a.tar"]


def test_goes_on_with_what_an_earlier_call_left(server: Any, tmp_path: Path) -> None:
    (tmp_path / f"a{PART}").write_bytes(CONTENT[:77])
    download(server.url, tmp_path / "a", MD5)
    assert server.asked == ["bytes=77-"]
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("have", [len(CONTENT), len(CONTENT) + 5])
def test_nothing_is_left_to_fetch_or_too_much_is_there(server: Any, tmp_path: Path, have: int) -> None:
    (tmp_path / f"a{PART}").write_bytes((CONTENT + b"....." * 2)[:have])
    download(server.url, tmp_path / "a", MD5)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(server.asked) == (1 if have == len(CONTENT) else 2)


def test_a_server_without_ranges_sends_the_whole(server: Any, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / f"a{PART}").write_bytes(b"other")
    download(server.url, tmp_path / "a", MD5)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_wrong_checksum_is_set_aside(server: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"a has md5 {MD5} instead of 0123 .* set aside as .*a{WRONG}"):
        download(server.url, tmp_path / "a", "0123")
    assert [each.name for each in tmp_path.iterdir()] == [f"a{WRONG}"]


def test_gives_up_where_nothing_comes_and_keeps_what_came(server: Any, tmp_path: Path) -> None:
    server.breaks = [10] + [0] * module.TRIES
    with pytest.raises(InputError, match=r"broke off.*by hand as .*goes on after the 10 bytes"):
        download(server.url, tmp_path / "a", MD5)
    assert len(server.asked) == 1 + module.TRIES
    assert (tmp_path / f"a{PART}").read_bytes() == CONTENT[:10]
    assert not (tmp_path / "a").exists()


def test_refused(server: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answers 404"):
        download(server.url + "x", tmp_path / "a")
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"cannot be fetched \(.*refused.*\).*by hand"):
        download(server.url, tmp_path / "a")
