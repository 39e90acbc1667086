"""The service against its own OpenAPI: schemathesis asks whatever it allows, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photographs import photo

from getam.service.app import Service, create_app
from getam.service.network import ServedNetwork
from getam.service.uploads import FORMATS, MEDIA_TYPES, Limits

schemathesis: Any = pytest.importorskip("schemathesis", reason="it comes with getam[dev]")

for kind, form in zip(MEDIA_TYPES, FORMATS, strict=True):
    content = photo(form, 20, 24)
    schemathesis.openapi.media_type(kind, st.sampled_from([content, content[:30], b""]))


@pytest.fixture
def described(lively: Path) -> Iterator[Any]:
    """The OpenAPI of a service, and the service behind it."""
    network = ServedNetwork(lively, scales=(32,), crf=False, device="cpu", limits=Limits(0.1, 0.1))
    service = Service(network)
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(service))
    asyncio.run(service.close())


@pytest.mark.parametrize("allowed", [True, False])
def test_every_answer_is_one_that_is_described(described: Any, allowed: bool) -> None:
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    mode = GenerationMode.POSITIVE if allowed else GenerationMode.NEGATIVE
    statuses: dict[str, set[int]] = {}
    for found in described.get_all_operations():
        operation = found.ok()
        if not allowed and operation.method == "get":
            continue  # there is nothing in it that could be wrong

        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            answer = case.call()
            statuses.setdefault(case.path, set()).add(answer.status_code)
            # Bytes are a valid body by their schema, and no photo most of the time.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        run()
    assert {"/segment", "/explain"} <= set(statuses)
    if allowed:
        assert all(200 in found for found in statuses.values()), statuses
