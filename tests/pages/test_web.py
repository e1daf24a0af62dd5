"""The pages on one's own machine: who is answered, and who is not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib.core.approvals import asks
from chalicelib.pages.site import Desk, Visitor
from patchwarden import web
from patchwarden.cli import cli
from patchwarden.web import Site

HERE, KEY, TOKEN = "127.0.0.1:8040", "a-key", "a-token"


def ask(site: Site, path: str, method: str = "GET", body: str = "", **given: str) -> tuple[int, dict[str, str], str]:
    found: dict[str, Any] = {}
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": HERE, "CONTENT_LENGTH": str(len(body)),
               "wsgi.input": io.BytesIO(body.encode()), **given}  # fmt: skip

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        found.update(status=int(status[:3]), headers=dict(headers))

    said = b"".join(site(environ, start)).decode()
    return found["status"], found["headers"], said


@pytest.fixture
def site(desk: Desk) -> Site:
    return Site(desk, Visitor("alex", True, TOKEN), KEY)


@pytest.mark.parametrize("host", ["evil.example:8040", "127.0.0.1.evil.example:80", "127.0.0.1", "", "a@127.0.0.1:80"])
def test_a_name_that_only_leads_here_is_not_answered(site: Site, host: str) -> None:
    """DNS rebinding: the browser thinks that this machine is another site's."""
    status, headers, said = ask(site, f"/{KEY}/overview", HTTP_HOST=host)
    assert status == 421 and "<" not in said and headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/", "/overview", f"/{KEY}", "/another-key/overview", "/overview.json", "/act"])
def test_others_on_this_machine_are_not_answered_without_the_key(site: Site, desk: Desk, path: str) -> None:
    status, _, said = ask(site, path)
    assert status == 403 and "patchwarden web" in said and desk.ports.policies.active().digest not in said
    case = next(case for case in desk.ports.ledger.all_heads() if asks(case.decision))
    form = f"token={TOKEN}&say=approve&remediation={case.id}&because=x"
    assert ask(site, path, "POST", form)[0] == 403 and desk.ports.ledger.head(case.id) == case


def test_with_the_key_pages_lead_to_each_other(site: Site) -> None:
    assert ask(site, f"/{KEY}/")[1]["Location"] == "overview"
    status, _, said = ask(site, f"/{KEY}/overview")
    assert status == 200 and 'href="./waiting"' in said and KEY not in said and 'href="/' not in said


@pytest.mark.parametrize("size", ["\u00b2", "-1", "1e3", "99999999999999999999", "x"])
def test_a_size_that_is_none_is_refused(site: Site, size: str) -> None:
    assert ask(site, f"/{KEY}/act", "POST", CONTENT_LENGTH=size)[0] == 413


def test_every_run_has_another_key_and_prints_it(monkeypatch: pytest.MonkeyPatch, built: Path) -> None:
    keys: list[str] = []

    class Served:
        server_port = 1

        def __enter__(self) -> Served:
            return self

        def __exit__(self, *_: object) -> None: ...

        def serve_forever(self) -> None:
            raise KeyboardInterrupt

    def made(host: str, port: int, site: Site, **_: Any) -> Served:
        assert host == "127.0.0.1"
        keys.append(site._below)
        return Served()

    monkeypatch.setattr(web, "make_server", made)
    for _ in range(2):
        done = CliRunner().invoke(cli, ["--ledger", str(built / "demo.sqlite"), "web"])
        assert done.exit_code == 0 and f"http://127.0.0.1:1{keys[-1]} as " in done.stderr
    assert keys[0] != keys[1] and all(len(key) > 20 for key in keys)
