"""Override lists: what is asked for becomes a list that AWS-RunPatchBaseline reads, and a scan tells who has it."""

from __future__ import annotations

import re

import pytest
import yaml

from chalicelib.core.emergencies import Scope, of_named
from chalicelib.core.errors import PolicyError
from chalicelib.core.facts import NodeState, Patch
from chalicelib.core.nodes import Location
from chalicelib.core.overrides import (
    Named,
    PatchList,
    Standing,
    at_least,
    cve,
    digest_of_list,
    fixes,
    kb,
    list_for,
    names,
    package,
    said,
    text_of,
)
from chalicelib.core.remediations import Cause
from tests.sets import HERE, NOW, machine, scan

XZ = Named("xz-libs", "5.6.2-1")
KB = Named("KB5035849")


def seen(state: str, version: str = "0:5.6.2-1.amzn2023", id: str = "xz-libs.x86_64") -> Patch:
    return Patch(id, f"{id}:{version}" if version else id, "Security", "Critical", state)


@pytest.mark.parametrize(("found", "wanted", "enough"), [
    ("0:5.6.2-1.amzn2023", "5.6.2-1", True), ("0:5.6.10-1", "5.6.2-1", True), ("0:5.6.1-9", "5.6.2-1", False),
    ("5.6.2-1", "5.6.2-1.amzn2023", False), ("1:3.0.7-28.el9", "1:3.0.7-27", True), ("0:9.0-1", "1:1.0-1", False),
    ("3.0.2-0ubuntu1.18", "3.0.2-0ubuntu1.9", True), ("5.6.2~rc1-1", "5.6.2-1", False), ("1.1.1w", "1.1.1k", True),
    ("9.0-1", "0:9.0-1", True), ("2:9.0-1", "9.0-1", True), ("6.1.119-2", "6.1.12-2", True),
])  # fmt: skip
def test_a_version_is_compared_piece_by_piece(found: str, wanted: str, enough: bool) -> None:
    assert at_least(found, wanted) is enough


def test_the_list_is_what_the_documented_samples_look_like() -> None:
    text = text_of([XZ, Named("kernel.x86_64", "0:6.1.119-1"), KB])
    assert yaml.safe_load(text) == {"patches": [
        {"id": "KB5035849"},
        {"id": "kernel.x86_64", "title": "*:0:6.1.119-1*"},
        {"id": "xz-libs.*", "title": "*:5.6.2-1*"},
    ]}  # fmt: skip
    assert text == text_of([KB, XZ, Named("kernel.x86_64", "0:6.1.119-1"), KB])
    assert names(text.decode(), "xz-libs.x86_64", "xz-libs.x86_64:0:5.6.2-1.amzn2023")
    assert names(text.decode(), "xz-libs.amd64", "xz-libs.amd64:5.6.2-1ubuntu2")
    assert not names(text.decode(), "xz-libs.x86_64", "xz-libs.x86_64:0:5.6.1-1")
    assert not names(text.decode(), "xz-libs-devel.x86_64", "xz-libs-devel.x86_64:0:5.6.2-1")


def test_a_list_has_an_end() -> None:
    with pytest.raises(ValueError, match="1 to 100 patches, not 101"):
        text_of([Named(f"package-{number}", "1") for number in range(101)])
    with pytest.raises(ValueError, match="1 to 100 patches, not 0"):
        text_of([])


@pytest.mark.parametrize(("read", "text", "sentence"), [
    (kb, "KB12", "write it like KB5035849"), (kb, "http://evil", "is no KB number"),
    (package, "openssl", "write openssl=3.2.2-12, the first one that is fixed"),
    (package, "open*=1", "write the package itself, without"), (package, "a'b=1", "is no name of a package"),
    (package, "xz=1'\n  - id: '*", "is no version"), (cve, "CVE-26-1", "write it like CVE-2026-12345"),
])  # fmt: skip
def test_what_cannot_be_in_a_list_is_refused_with_the_remedy(read: object, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(text)  # type: ignore[operator]
    assert kb("5035849") == KB and package("xz-libs=5.6.2-1") == XZ and cve("cve-2026-12345") == "CVE-2026-12345"


@pytest.mark.parametrize(("found", "standing"), [
    ([seen("INSTALLED")], Standing.HAS), ([seen("INSTALLED_OTHER", "0:5.8.0-1")], Standing.HAS),
    ([seen("INSTALLED_PENDING_REBOOT")], Standing.PENDING), ([seen("MISSING")], Standing.LACKS),
    ([seen("FAILED")], Standing.LACKS), ([seen("INSTALLED", "0:5.6.1-1")], Standing.LACKS),
    ([seen("AVAILABLE_SECURITY_UPDATE")], Standing.LACKS), ([seen("INSTALLED_REJECTED")], Standing.LACKS),
    ([seen("INSTALLED"), seen("MISSING", "0:5.6.9-1")], Standing.HAS), ([], Standing.UNSAID),
    ([seen("NOT_APPLICABLE")], Standing.UNSAID), ([seen("MISSING", id="xz-libs-devel.x86_64")], Standing.UNSAID),
])  # fmt: skip
def test_a_scan_tells_how_a_node_stands_whatever_the_baseline_counts(found: list[Patch], standing: Standing) -> None:
    assert said([XZ], found).standing is standing


def test_the_worst_of_several_decides_and_one_of_several_versions_is_enough() -> None:
    kb_missing = Patch("KB5035849", "2026-11", "SecurityUpdates", "Critical", "MISSING")
    both = said([XZ, KB], [seen("INSTALLED"), kb_missing])
    assert both.standing is Standing.LACKS and str(both) == "lacks KB5035849; has xz-libs 5.6.2-1"
    versions = [Named("xz-libs", "5.6.2-1"), Named("xz-libs", "5.8.0-1")]
    assert said(versions, [seen("INSTALLED")]).standing is Standing.HAS


@pytest.mark.parametrize(("found", "cause", "sentence"), [
    ([seen("INSTALLED_OTHER")], Cause.RESOLVED, "the node has xz-libs 5.6.2-1"),
    ([seen("INSTALLED_PENDING_REBOOT")], Cause.REBOOT_NEEDED, "waits for a reboot with xz-libs"),
    ([seen("INSTALLED", "0:5.6.1-1")], Cause.FAILED, r"lacks xz-libs 5.6.2-1 \(xz-libs.x86_64:0:5.6.1-1 is INSTALLED"),
    ([], Cause.RESOLVED, "not applicable: after the install the scan of .* says nothing of xz-libs"),
])  # fmt: skip
def test_what_a_scan_after_the_execution_proves(found: list[Patch], cause: Cause, sentence: str) -> None:
    told = PatchList("Linux", None, digest_of_list([XZ]), "v1", (XZ,)).to_json()
    verdict = of_named(told, found, scan(NOW, missing=7))
    assert verdict[0] is cause and re.search(sentence, verdict[1]), verdict


def test_a_list_whose_digest_is_not_of_its_patches_is_no_list() -> None:
    good = PatchList("Linux", None, digest_of_list([XZ]), "v1", (XZ,)).to_json()
    assert PatchList.from_json(good).named == (XZ,)
    for change in ({"named": [{"id": "evil", "version": "1"}]}, {"version_id": ""}, {"list": "s3://evil/list"},
                   {"platform": "MacOS"}, {"url": "https://evil.example.com"}):  # fmt: skip
        with pytest.raises(PolicyError):
            PatchList.from_json({**good, **change})


def test_the_list_of_the_very_system_comes_first() -> None:
    whole = PatchList("Linux", None, digest_of_list([XZ]), "v1", (XZ,))
    mine = PatchList("Linux", "Ubuntu 22.04", digest_of_list([KB]), "v1", (KB,))
    node = {"platform": "Linux", "platform_name": "Ubuntu", "platform_version": "22.04"}
    assert list_for([whole, mine], node) is mine
    assert list_for([whole, mine], {**node, "platform_version": "24.04"}) is whole
    assert list_for([mine], {**node, "platform_version": "24.04"}) is None
    assert list_for([whole, mine], {"platform": None}) is None


def test_what_a_node_lacks_is_named_as_a_list_takes_it() -> None:
    assert fixes(seen("MISSING")) == Named("xz-libs.x86_64", "0:5.6.2-1.amzn2023")
    assert fixes(Patch("KB5035849", "2026-11 Cumulative", "SecurityUpdates", "Critical", "MISSING")) == KB


def node(**given: object) -> NodeState:
    return machine(**{"tags": {"Environment": "prod"}, **given})


def test_a_scope_is_alternatives_of_one_kind_and_all_kinds_together() -> None:
    scope = Scope.parse(["account=111122223333", "tag:Environment=prod", "tag:Environment=dev", "platform=linux"])
    assert scope.covers(HERE, node()) and scope.covers(HERE, node(tags={"Environment": "dev"}))
    assert not scope.covers(HERE, node(tags={})) and not scope.covers(HERE, node(platform="Windows"))
    assert not scope.covers(Location("444455556666", HERE.region), node())
    assert scope.covers(HERE, node(tags=None)), "unreadable tags are not silently out of scope"
    assert Scope.parse(["all"]).covers(HERE, node(tags={}, platform="Windows"))
    assert str(scope) == "account=111122223333 tag:Environment=prod|dev platform=Linux"


@pytest.mark.parametrize("text", ["", "prod", "account=12", "tag:=x", "region=Dublin", "platform=mac", "zone=a"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="scope"):
        Scope.parse([text])
    with pytest.raises(ValueError, match="--scope all"):
        Scope.parse([])
