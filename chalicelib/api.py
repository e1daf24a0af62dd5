"""The REST API: a blueprint of the routes in `routes.py`, behind IAM, or behind a Cognito user pool."""

from __future__ import annotations

from collections.abc import Callable

from chalice.app import Authorizer, Blueprint, CognitoUserPoolAuthorizer, IAMAuthorizer, Request, Response

from chalicelib import wiring
from chalicelib.routes import ROUTES, Route

routes = Blueprint(__name__)


def authorizer() -> Authorizer:
    """Who says who calls: IAM, or the user pool that the settings name."""
    pool = wiring.Settings.from_environment().cognito
    return CognitoUserPoolAuthorizer("pool", provider_arns=[pool]) if pool else IAMAuthorizer()


@routes.middleware("http")
def whole(request: Request, answer: Callable[[Request], Response]) -> Response:
    """The answer, or a problem where the framework would say in its own words that something went wrong."""
    said = answer(request)
    if not (isinstance(said.body, dict) and {*said.body} == {"Code", "Message"}):
        return said
    from chalicelib import serve  # only where something went wrong

    title = "something went wrong here" if said.status_code == 500 else "the request cannot be read"
    detail = "nobody foresaw it; the log of the function has all of it" if said.status_code == 500 else \
        str(said.body["Message"])  # fmt: skip
    return serve.problem(said.status_code, title, detail)


def _register(route: Route, who: Authorizer) -> None:
    def view(**path: str) -> Response:
        from chalicelib import serve  # a function that serves no request does not pay for it

        return serve.answer(route, path, routes.current_request)

    view.__name__ = f"{route.name}_view"
    routes.route(route.path, methods=[route.method], authorizer=who, name=route.name,
                 content_types=["application/json", "*/*"])(view)  # fmt: skip


_AUTHORIZER = authorizer()
for _route in ROUTES:
    _register(_route, _AUTHORIZER)
