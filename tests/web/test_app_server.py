"""The server from outside, as a stranger on the network meets it: what it serves, takes and leaves behind."""

import json
import os
import re
import socket
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from getam.errors import InputError
from getam.verbs import app as verb
from getam.web.folder import open_folder
from getam.web.limits import Limits
from getam.web.models import Models
from getam.web.server import own_cache, start
from getam.web.visit import App

pytest.importorskip("gradio", reason="the extra app is not installed")
httpx = pytest.importorskip("httpx")

MOST = 20_000  # bytes of an upload


class Served:
    """A running app: its address, its own folder, and the calls that a page makes."""

    def __init__(self, url: str, place: Path, folder: Path) -> None:
        self.url, self.place, self.folder = url, place, folder
        self.client = httpx.Client(base_url=url, timeout=60)
        events = self.client.get("/config").json()["dependencies"]
        self.events = {event["api_name"]: event["id"] for event in events}

    def call(self, event: str, data: list[Any], session: str = "stranger") -> dict[str, Any]:
        asked = {"data": data, "fn_index": self.events[event], "session_hash": session}
        joined = self.client.post("/gradio_api/queue/join", json=asked)
        assert joined.status_code == 200, joined.text
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as lines:
            for line in lines.iter_lines():
                if line.startswith("data:") and (said := json.loads(line[5:]))["msg"] == "process_completed":
                    return said
        raise AssertionError("no answer")

    def upload(self, name: str, content: bytes) -> Any:
        return self.client.post("/gradio_api/upload", files={"files": (name, content)})

    def files(self) -> list[Path]:
        return [path for path in self.place.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    (root / "photos").mkdir()
    for file in (root / "photos" / "a.png", root / "secret.png"):
        Image.new("RGB", (40, 30), (200, 10, 10)).save(file)
    with own_cache() as place:
        from getam.web.page import CSS, build, theme

        page = build(App(Models(), Limits(MOST / 1e6, 0.01), open_folder(root / "photos")), place)
        url = start(page, port=0, max_bytes=MOST, look={"theme": theme(), "css": CSS})
        yield Served(url, place, root / "photos")
        page.close()
    assert not place.exists()


def test_it_listens_on_loopback_alone(served: Served) -> None:
    assert served.url.startswith("http://127.0.0.1:")
    port = int(served.url.rstrip("/").rsplit(":", 1)[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; says which address this machine has outwards
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    if own.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with socket.socket() as knock:
        knock.settimeout(2)
        with pytest.raises(OSError):
            knock.connect((own, port))


@pytest.mark.parametrize(
    "path",
    ["{root}/secret.png", "{folder}/../secret.png", "{folder}/a.png", "/etc/passwd", "../../../../etc/passwd",
     "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "pyproject.toml", "{package}/embedded/animals.safetensors",
     "http://127.0.0.1:1/x", "file:///etc/passwd", "{place}", "C:\\x"],
)  # fmt: skip
def test_no_file_but_its_own_is_served(served: Served, path: str) -> None:
    import getam

    given = path.format(
        root=served.folder.parent,
        folder=served.folder,
        package=Path(getam.__file__).parent,
        place=served.place,
    )
    for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy="):
        answer = served.client.get(route + given)
        assert answer.status_code in (400, 403, 404), (route, answer.status_code, answer.text[:200])


@pytest.mark.parametrize("path", ["/etc/passwd", "{folder}/a.png", "{folder}/../secret.png", "relative.png"])
def test_no_path_is_taken_for_an_upload(served: Served, path: str) -> None:
    before = served.files()
    file = {"path": path.format(folder=served.folder), "meta": {"_type": "gradio.FileData"}}
    said = served.call("take", [None, [file]])
    assert not said["success"]
    assert "not uploaded by a user" in said["output"]["error"]
    assert served.files() == before


def test_no_address_is_fetched(served: Served) -> None:
    asked: list[str] = []

    class Note(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Note) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        for host in (f"127.0.0.1:{elsewhere.server_port}", "example.invalid"):
            file = {"path": f"http://{host}/a.png", "meta": {"_type": "gradio.FileData"}}
            for event, data in (
                ("take", [None, [file]]),
                ("put", [None, {"background": file, "layers": [file]}]),
            ):
                said = served.call(event, data)
                assert not said["success"]
                assert "an address is no photo" in said["output"]["error"]
        elsewhere.shutdown()
    assert asked == []


@pytest.mark.parametrize("title", ["../secret.png", "/etc/passwd", "b.png"])
def test_no_photo_but_those_of_the_list_is_opened(served: Served, title: str) -> None:
    said = served.call("show", [None, title, "embedded"])
    assert not said["success"]
    assert "not in the list of choices" in said["output"]["error"]


def test_a_model_is_not_opened_by_its_path(served: Served, trained: Path) -> None:
    said = served.call("use", [None, str(trained), None, "nothing"])
    assert not said["success"]
    assert "there is no model" in said["output"]["error"]


def test_an_upload_that_is_too_large_is_refused_and_leaves_nothing(served: Served) -> None:
    before = served.files()
    assert served.upload("a.png", os.urandom(MOST + 1)).status_code == 413
    assert served.files() == before
    assert served.upload("a.png", os.urandom(MOST - 1000)).status_code == 200


@pytest.mark.parametrize(
    "name", ["../../../../tmp/evil.png", "/tmp/evil.png", "..\\evil.png", "a/../../evil.png"]
)
def test_an_upload_lies_in_the_apps_own_folder_whatever_it_is_called(served: Served, name: str) -> None:
    [path] = served.upload(name, b"abc" + name.encode()).json()
    assert Path(path).resolve().is_relative_to(served.place.resolve())


def drop(served: Served, content: bytes, session: str) -> dict[str, Any]:
    [path] = served.upload("mine.png", content).json()
    file = {"path": path, "orig_name": "mine.png", "meta": {"_type": "gradio.FileData"}}
    assert served.call("take", [None, [file]], session)["success"]
    return served.call("show", [None, "dropped: mine.png", "embedded"], session)


def png(size: tuple[int, int], path: Path) -> bytes:
    Image.new("RGB", size, (10, 99, 200)).save(path)
    return path.read_bytes()


def test_a_photo_of_too_many_pixels_is_one_sentence(served: Served, tmp_path: Path) -> None:
    said = drop(served, png((200, 51), tmp_path / "a.png"), "large")
    assert not said["success"]
    assert said["output"]["error"].startswith("mine.png has 200×51 pixels and at most 0.01 million are taken")
    assert drop(served, png((200, 50), tmp_path / "b.png"), "fits")["success"]


@pytest.mark.parametrize(
    "content", [b"no photo", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"<svg onload='alert(1)'/>"]
)
def test_what_is_no_photo_is_one_sentence_without_a_path(served: Served, content: bytes) -> None:
    said = drop(served, content, f"bad {len(content)}")
    assert not said["success"]
    assert re.search(r"photo mine\.png cannot be read", said["output"]["error"])
    assert str(served.place) not in said["output"]["error"]


def test_visitors_do_not_see_each_others_photos(served: Served, tmp_path: Path) -> None:
    assert drop(served, png((20, 10), tmp_path / "a.png"), "first")["success"]
    said = served.call("show", [None, "dropped: mine.png", "embedded"], "second")
    assert not said["success"]


def test_nothing_is_reported_and_nothing_is_shared(served: Served) -> None:
    config = served.client.get("/config").json()
    assert config["analytics_enabled"] is False
    page = served.client.get("/").text
    assert "fonts.googleapis.com" not in served.client.get("/theme.css").text
    assert "gradio.live" not in page
    assert served.client.get("/monitoring").status_code == 403


def test_the_folder_for_uploads_is_the_users_alone_and_the_environment_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "elsewhere")
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    places: list[Path] = []

    def fails() -> None:
        with own_cache() as place:
            places.append(place)
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
            assert os.environ["GRADIO_TEMP_DIR"] == str(place / "cache")
            assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
            (place / "cache" / "upload").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not places[0].exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "elsewhere"
    assert "GRADIO_ANALYTICS_ENABLED" not in os.environ


def test_a_port_that_is_taken_is_one_sentence(served: Served) -> None:
    port = int(served.url.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} cannot be listened on.*--port"):
        verb.app(port=port)
