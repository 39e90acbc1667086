"""Whether the hub, where backbones' weights come from, answers; asked only on request."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Queue
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from getam.verbs.doctor.finding import Finding

SECONDS = 5.0
REMEDY = (
    "without it: --weights FILE.safetensors, or --weights embedded, the model that comes with the package; behind a "
    "proxy set HTTPS_PROXY, for a mirror HF_ENDPOINT"
)


def hub(*, network: bool) -> Iterator[Finding]:
    """One line; a connection is opened only where `network` is on."""
    import huggingface_hub.constants as constants

    about, name = "network", "hub"
    if not network:
        yield Finding(about, name, "not asked: nothing is contacted without --network")
        return
    if constants.HF_HUB_OFFLINE:
        remedy = "unset HF_HUB_OFFLINE to fetch weights"
        yield Finding(about, name, "not asked: HF_HUB_OFFLINE is set", remedy)
        return
    complaint = _ask(constants.ENDPOINT)
    if complaint:
        yield Finding(
            about, name, f"{constants.ENDPOINT} cannot be reached: {complaint}", REMEDY, problem=True
        )
    else:
        yield Finding(about, name, f"{constants.ENDPOINT} answers")


def _ask(url: str, seconds: float = SECONDS) -> str:
    """Why it does not answer, empty where it does, after `seconds` at most: looking up a name has no limit itself."""
    answer: Queue[str] = Queue()

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=seconds):
                answer.put("")
        except HTTPError:  # it answers, if only to say no
            answer.put("")
        except (OSError, ValueError) as error:
            answer.put(str(getattr(error, "reason", error)))

    Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except Empty:
        return f"no answer in {seconds:g} s"
