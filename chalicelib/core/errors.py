"""Errors, named by whose turn it is.

PatchwardenError
├── PolicyError        the policy author: a file or a compiled set is wrong
├── IllegalTransition  us: a state was asked to move where the table forbids it
├── Stale              nobody: somebody else wrote first, read again
├── Temporary          AWS: come again later, the same request may then succeed
└── Denied             the operator: a permission, a document or a quota is missing
    └── Barred         the operator: the account does not let us in, or not do this, whatever we ask about
"""


class PatchwardenError(Exception):
    """The root: everything Patchwarden itself raises."""


class PolicyError(PatchwardenError):
    """A policy or a compiled policy set cannot be used; the message names the place and the remedy."""


class IllegalTransition(PatchwardenError):
    """The table of transitions has no row for this state and cause."""


class Stale(PatchwardenError):
    """A conditional write lost against another writer: read again and decide again."""


class Temporary(PatchwardenError):
    """The other side is busy or its answer was lost: the outcome is unknown and the call may be repeated."""


class Denied(PatchwardenError):
    """The other side refuses for good until an operator changes something there."""


class Barred(Denied):
    """The account refuses us as such: its role cannot be assumed, or lacks a permission. What we ask about is well."""
