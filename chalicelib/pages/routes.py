"""Routes: the pages in AWS, below `/pages` of the REST API and behind the same authorizer."""

from __future__ import annotations

from collections.abc import Callable

from chalice.app import Blueprint, Request, Response

from chalicelib.api import authorizer, whole

routes = Blueprint(__name__)

GETS = ("/pages", "/pages/audit", "/pages/audit/{page}", "/pages/node/{account}/{region}/{node}", "/pages/{page}")
"""API Gateway gives a path to its most specific resource: `/pages/audit` needs a method of its own."""

ACT = "/pages/act"
FORM = "application/x-www-form-urlencoded"


@routes.middleware("http")
def protected(request: Request, answer: Callable[[Request], Response]) -> Response:
    """A problem where something went wrong, behind the same headers as a page."""
    said: Response = whole(request, answer)
    if said.status_code == 500:
        from chalicelib.pages.site import HEADERS

        said.headers = {**HEADERS, **said.headers}
    return said


def _asked(**path: str) -> Response:
    from chalicelib.pages import gate  # a function that serves no page does not pay for it

    return gate.answer(routes.current_request)


_AUTHORIZER = authorizer()
routes.route(ACT, methods=["POST"], authorizer=_AUTHORIZER, name="page_act", content_types=[FORM])(_asked)
for _place, _path in enumerate(GETS):
    routes.route(_path, methods=["GET"], authorizer=_AUTHORIZER, name=f"page_{_place}")(_asked)
