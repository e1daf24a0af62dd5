"""Tracing: one X-Ray subsegment per verb; the SDK is imported only in an invocation that is sampled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

ANNOTATIONS = frozenset({"account", "region", "node", "policy", "action", "remediation"})
"""What traces are found by; a trace has at most 50 indexed annotations, so everything else is metadata.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
"""

LONGEST = 1000
"""Characters of one value, as X-Ray has it."""

_TRACE_HEADER = "_X_AMZN_TRACE_ID"


class Untraced:
    """The twin: every verb runs, nothing is recorded."""

    @contextmanager
    def verb(self, name: str) -> Iterator[Callable[..., None]]:
        yield _forget


class XRay:
    """Subsegments of the segment that Lambda made for this invocation; outside of one nothing is recorded.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """

    def __init__(self) -> None:
        self._recorder: Any = None

    @contextmanager
    def verb(self, name: str) -> Iterator[Callable[..., None]]:
        if not _sampled():
            yield _forget
            return
        self._recorder = self._recorder or _new_recorder()
        with self._recorder.in_subsegment(name) as subsegment:
            yield partial(_annotate, subsegment) if subsegment else _forget


def _sampled() -> bool:
    """Asked for every verb: Lambda sets the header anew for every invocation."""
    return "Sampled=1" in map(str.strip, os.environ.get(_TRACE_HEADER, "").split(";"))


def _new_recorder() -> Any:
    """Our own recorder and not the SDK's global one, so that it takes the daemon's address when it is first needed."""
    from aws_xray_sdk.core import AWSXRayRecorder
    from aws_xray_sdk.core.lambda_launcher import LambdaContext

    recorder = AWSXRayRecorder()
    recorder.configure(context=LambdaContext(), streaming_threshold=0)
    return recorder


def _forget(**values: object) -> None:
    pass


def _annotate(subsegment: Any, **values: object) -> None:
    for key, value in values.items():
        if value is None:
            continue
        kept = value if isinstance(value, bool | int | float) else str(value)[:LONGEST]
        if key in ANNOTATIONS:
            subsegment.put_annotation(key, kept)
        else:
            subsegment.put_metadata(key, kept, "patchwarden")
