"""Override lists: the patches that an emergency names, as an InstallOverrideList, and what a scan says of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Any

from chalicelib.core.compiled import NONE, exactly
from chalicelib.core.errors import PolicyError
from chalicelib.core.facts import Patch

WINDOWS, LINUX = "Windows", "Linux"
PLATFORMS = (WINDOWS, LINUX)
"""What AWS-RunPatchBaseline takes an override list on."""

MOST_PATCHES = 100
_LARGEST = 256 * 1024
_ARCHITECTURES = ("x86_64", "aarch64", "noarch", "i686", "amd64", "arm64", "i386", "all")

KB = re.compile(r"KB\d{6,8}\Z", re.ASCII)
CVE = re.compile(r"CVE-\d{4}-\d{4,7}\Z", re.ASCII)
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_.-]{0,99}\Z", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_.:~^-]{0,99}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Standing(StrEnum):
    """How a node stands to the patches that are named. `UNSAID`: its scan speaks of none of them."""

    HAS = "has"
    PENDING = "pending"
    LACKS = "lacks"
    UNSAID = "unsaid"


@dataclass(frozen=True, slots=True)
class Named:
    """One patch: a KB, or a package from a version on. `id` is a KB, a name, or a name with its architecture."""

    id: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.id} {self.version}" if self.version else self.id

    @classmethod
    def from_json(cls, value: object) -> Named:
        known = exactly(value, "a named patch", {"id": str, "version": (str, NONE)})
        return cls(**known)

    def ids(self) -> tuple[str, ...]:
        """The ids under which Patch Manager may report it."""
        if KB.match(self.id) or self.id.endswith(tuple(f".{one}" for one in _ARCHITECTURES)):
            return (self.id,)
        return tuple(f"{self.id}.{one}" for one in _ARCHITECTURES)

    def entry(self) -> dict[str, str]:
        """As an override list names it. A version that only begins so is a later one, so it may be installed too.

        https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaseline.html
        """
        if self.version is None:
            return {"id": self.id}
        id = self.id if len(self.ids()) == 1 else f"{self.id}.*"
        return {"id": id, "title": f"*:{self.version}*"}

    def standing(self, found: Iterable[Patch]) -> Standing:
        """What the patches of one scan say of it."""
        mine = [patch for patch in found if patch.id in self.ids()]
        there = [patch for patch in mine if patch.state in _THERE and self._at_least(patch)]
        if any(patch.state == _PENDING for patch in there):
            return Standing.PENDING
        if there:
            return Standing.HAS
        lacked = [patch for patch in mine if patch.state != "NOT_APPLICABLE"]
        return Standing.LACKS if lacked else Standing.UNSAID

    def _at_least(self, patch: Patch) -> bool:
        return self.version is None or at_least(version_of(patch), self.version)


_PENDING = "INSTALLED_PENDING_REBOOT"
_THERE = ("INSTALLED", "INSTALLED_OTHER", _PENDING)


def kb(text: str) -> Named:
    """The patch that `KB5035849` or `5035849` means; ValueError otherwise."""
    name = text.strip().upper()
    name = name if name.startswith("KB") else f"KB{name}"
    if not KB.match(name):
        raise ValueError(f"{text!r:.60} is no KB number: write it like KB5035849")
    return Named(name)


def package(text: str) -> Named:
    """The patch that `openssl-libs=1:3.2.2-12` means; ValueError otherwise."""
    name, _, version = text.strip().partition("=")
    if not version:
        raise ValueError(
            f"{text!r:.80} names no version: write {name or 'openssl-libs'}=3.2.2-12, the first one that is fixed; "
            "without it nobody can tell from a scan whether a node has it"
        )
    if not _PACKAGE.match(name):
        raise ValueError(f"{name!r:.60} is no name of a package: write the package itself, without * or blanks")
    if not _VERSION.match(version):
        raise ValueError(f"{version!r:.60} is no version: write it as the scan does, such as 3.2.2-12 or 1:3.2.2-12")
    return Named(name, version)


def cve(text: str) -> str:
    """The CVE in its usual spelling; ValueError otherwise."""
    name = text.strip().upper()
    if not CVE.match(name):
        raise ValueError(f"{text!r:.60} is no CVE: write it like CVE-2026-12345")
    return name


def fixes(patch: Patch) -> Named:
    """The patch that a node lacks, as what to name: the KB, or the package from this version on."""
    return Named(patch.id) if KB.match(patch.id) else Named(patch.id, version_of(patch))


def version_of(patch: Patch) -> str:
    """The version in a Linux title: `name.arch:epoch:version-release`, or `name.arch:version` under APT."""
    return patch.title.removeprefix(f"{patch.id}:")


def at_least(found: str, wanted: str) -> bool:
    """Whether a version is the wanted one or a later one, compared piece by piece as package managers do.

    Without an epoch in `wanted`, that of `found` is passed over; one that says only how a version begins is reached
    by all that begin so. https://docs.fedoraproject.org/en-US/packaging-guidelines/Versioning/
    """
    has, needs = found, wanted
    if ":" not in wanted:
        has = found.rpartition(":")[2]
    elif ":" not in found:
        has = f"0:{found}"
    for mine, asked in zip_longest(_PIECE.findall(has), _PIECE.findall(needs), fillvalue=""):
        if mine != asked:
            return _rank(mine) > _rank(asked)
    return True


_PIECE = re.compile(r"\d+|[A-Za-z]+|~")


def _rank(piece: str) -> tuple[int, int, str]:
    """A number is later than a word, a word than the end, and `~` comes before it."""
    if piece.isdigit():
        return 3, int(piece), ""
    return (0, 0, "") if piece == "~" else (2 if piece else 1, 0, piece)


@dataclass(frozen=True, slots=True)
class PatchList:
    """One override list for the nodes of a platform, or of one `system` such as `Amazon Linux 2023`.

    `list` is the digest of its text, `version_id` that of the object in our bucket: both are held against the bucket
    before each start.
    """

    platform: str
    system: str | None
    list: str
    version_id: str
    named: tuple[Named, ...]

    @classmethod
    def from_json(cls, value: object) -> PatchList:
        known = exactly(value, "patches", _LIST)
        named = tuple(map(Named.from_json, known["named"]))
        if not _DIGEST.match(known["list"]) or not known["version_id"] or not named:
            raise PolicyError("the policy set is malformed: patches have no digest, no version id or no names")
        if digest_of_list(named) != known["list"]:
            raise PolicyError(f"the policy set is malformed: the list {known['list'][:12]} is not of the patches named")
        return cls(**{**known, "named": named})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "named": [asdict(one) for one in self.named]}

    def serves(self, platform: object, system: str) -> bool:
        return platform == self.platform and self.system in (None, system)


_LIST: Mapping[str, Any] = {
    "platform": frozenset(PLATFORMS), "system": (str, NONE), "list": str, "version_id": str, "named": list,
}  # fmt: skip


def system_of(node: Mapping[str, Any]) -> str:
    """A node's operating system as a list names it, from its facts."""
    return f"{node.get('platform_name') or ''} {node.get('platform_version') or ''}".strip()


def list_for(lists: Sequence[PatchList], node: Mapping[str, Any]) -> PatchList | None:
    """The list for a node of these facts: that of its very system before that of its platform."""
    fits = [one for one in lists if one.serves(node.get("platform"), system_of(node))]
    return min(fits, key=lambda one: one.system is None, default=None)


def text_of(named: Sequence[Named]) -> bytes:
    """The list as YAML, one entry for each patch in the order of its name: never a repository, which it could hold.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaseline.html
    """
    lines = ["patches:"]
    for one in sorted(set(named), key=str):
        entry = one.entry()
        lines.append(f"  - id: '{entry['id']}'")
        lines += [f"    title: '{entry['title']}'"] if "title" in entry else []
    text = ("\n".join(lines) + "\n").encode()
    if not named or len(set(named)) > MOST_PATCHES or len(text) > _LARGEST:
        raise ValueError(f"a list names 1 to {MOST_PATCHES} patches, not {len(set(named))}: part the emergency")
    return text


def digest_of_list(named: Sequence[Named]) -> str:
    return hashlib.sha256(text_of(named)).hexdigest()


def asked_for(named: Iterable[Named]) -> tuple[str, ...]:
    """Every id to ask a node's scan for."""
    return tuple(dict.fromkeys(id for one in named for id in one.ids()))


@dataclass(frozen=True, slots=True)
class Said:
    """What one node's scan says of all that is named; `parts` are the patches by how they stand."""

    standing: Standing
    parts: Mapping[Standing, tuple[str, ...]] = field(hash=False)

    def __str__(self) -> str:
        told = [f"{_SAYS[standing]} {', '.join(self.parts[standing][:5])}" for standing in _SAYS if
                self.parts.get(standing)]  # fmt: skip
        return "; ".join(told)


_SAYS = {
    Standing.LACKS: "lacks",
    Standing.PENDING: "waits for a reboot with",
    Standing.HAS: "has",
    Standing.UNSAID: "says nothing of",
}


def said(named: Sequence[Named], found: Sequence[Patch]) -> Said:
    """The worst of them decides: one that is lacking, one that waits for a reboot, one it has; else nothing is said.

    Several versions of one package are what several repositories offer: one of them is enough.
    """
    together: dict[str, list[Named]] = {}
    for one in named:
        together.setdefault(one.id, []).append(one)
    parts: dict[Standing, tuple[str, ...]] = {}
    for versions in together.values():
        stands = {one: one.standing(found) for one in versions}
        best = min(versions, key=lambda one: _BEST.index(stands[one]))
        parts[stands[best]] = (*parts.get(stands[best], ()), str(best))
    worst = next(one for one in (*_WORST, Standing.UNSAID) if one in parts)
    return Said(worst, parts)


_WORST = (Standing.LACKS, Standing.PENDING, Standing.HAS)
_BEST = (Standing.HAS, Standing.PENDING, Standing.LACKS, Standing.UNSAID)


def names(text: str, id: str, title: str) -> bool:
    """Whether the override list in `text` names a patch, as AWS-RunPatchBaseline reads its wildcards."""
    entries = re.findall(r"- id: '([^']*)'(?:\n    title: '([^']*)')?", text)
    return any(fnmatchcase(id, entry) and fnmatchcase(title, wanted or "*") for entry, wanted in entries)
