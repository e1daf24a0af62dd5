"""XML: the query and ec2 wire protocols, read and written by the shapes of botocore's service model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from patchwarden.simulator.refusals import Refusal

# A request as a tree: the dotted names of the form, taken apart.
Branch = dict[str, "Branch | str"]


def action(body: str) -> str:
    """The operation that a form asks for; empty if it names none."""
    return dict(parse_qsl(body, keep_blank_values=True)).get("Action", "")


def read_form(body: str, shape: Any, *, ec2: bool) -> dict[str, Any]:
    """The parameters in a form-encoded request body, as boto3 was given them."""
    if shape is None:
        return {}
    tree: Branch = {}
    for name, text in parse_qsl(body, keep_blank_values=True):
        if name not in ("Action", "Version"):
            _plant(tree, name.split("."), text)
    found = _read(tree, shape, ec2)
    assert isinstance(found, dict)
    return found


def write_answer(operation: str, answer: Mapping[str, Any], shape: Any, namespace: str, request_id: str) -> str:
    """The body of a success. The two protocols differ in how they wrap it; the shape's `resultWrapper` tells."""
    root = ElementTree.Element(f"{operation}Response", {"xmlns": namespace})
    wrapper = shape.serialization.get("resultWrapper") if shape is not None else None
    if wrapper:
        _write_members(ElementTree.SubElement(root, wrapper), answer, shape)
        metadata = ElementTree.SubElement(root, "ResponseMetadata")
        ElementTree.SubElement(metadata, "RequestId").text = request_id
    else:
        ElementTree.SubElement(root, "requestId").text = request_id
        if shape is not None:
            _write_members(root, answer, shape)
    return ElementTree.tostring(root, encoding="unicode")


def write_refusal(refusal: Refusal, namespace: str, request_id: str, *, ec2: bool) -> str:
    """The body of an error, as EC2 or as the other query services write it."""
    root = ElementTree.Element("Response") if ec2 else ElementTree.Element("ErrorResponse", {"xmlns": namespace})
    error = ElementTree.SubElement(ElementTree.SubElement(root, "Errors") if ec2 else root, "Error")
    if not ec2:
        ElementTree.SubElement(error, "Type").text = "Sender" if refusal.status < 500 else "Receiver"
    ElementTree.SubElement(error, "Code").text = refusal.code
    ElementTree.SubElement(error, "Message").text = refusal.message
    ElementTree.SubElement(root, "RequestID" if ec2 else "RequestId").text = request_id
    return ElementTree.tostring(root, encoding="unicode")


def _plant(tree: Branch, names: list[str], text: str) -> None:
    for name in names[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            raise Refusal("MalformedQueryString", f"{'.'.join(names)} is both a value and a structure")
        tree = below
    tree[names[-1]] = text


def _read(tree: Branch | str, shape: Any, ec2: bool) -> Any:
    if shape.type_name == "structure":
        return _read_structure(_branch(tree), shape, ec2)
    if shape.type_name == "list":
        return _read_list(_branch(tree), shape, ec2)
    if isinstance(tree, dict):
        raise Refusal("MalformedQueryString", f"a structure where a {shape.type_name} belongs")
    convert = _FROM_TEXT.get(shape.type_name, str)
    try:
        return convert(tree)
    except (ValueError, KeyError) as error:
        raise Refusal("InvalidParameterValue", f"{tree!r} is no {shape.type_name}") from error


def _read_structure(tree: Branch, shape: Any, ec2: bool) -> dict[str, Any]:
    names = {_form_name(member, name, ec2): name for name, member in shape.members.items()}
    # A name that the model does not have stays as it is, so that validation can refuse it.
    return {
        names.get(name, name): _read(below, shape.members[names[name]], ec2) if name in names else below
        for name, below in tree.items()
    }


def _read_list(tree: Branch, shape: Any, ec2: bool) -> list[Any]:
    if not ec2 and not shape.serialization.get("flattened"):
        tree = _branch(tree.get(shape.member.serialization.get("name", "member"), {}))
    numbered = {int(number): below for number, below in tree.items() if number.isdigit()}
    return [_read(numbered[number], shape.member, ec2) for number in sorted(numbered)]


def _branch(tree: Branch | str) -> Branch:
    if isinstance(tree, dict):
        return tree
    if tree == "":
        return {}
    raise Refusal("MalformedQueryString", f"the value {tree!r} where a structure belongs")


def _form_name(shape: Any, name: str, ec2: bool) -> str:
    """EC2 writes a member's location name with a capital, unless a query name is given."""
    if not ec2:
        return str(shape.serialization.get("name", name))
    given = shape.serialization.get("queryName")
    if given:
        return str(given)
    located = str(shape.serialization.get("name", name))
    return located[0].upper() + located[1:]


def _write_members(parent: ElementTree.Element, value: Mapping[str, Any], shape: Any) -> None:
    members = shape.members
    for name, item in value.items():
        if item is not None:
            _write(parent, item, members[name], members[name].serialization.get("name", name))


def _write(parent: ElementTree.Element, value: Any, shape: Any, name: str) -> None:
    if shape.type_name == "list":
        flat = shape.serialization.get("flattened")
        inside = parent if flat else ElementTree.SubElement(parent, name)
        item_name = name if flat else shape.member.serialization.get("name", "member")
        for item in value:
            _write(inside, item, shape.member, item_name)
        return
    element = ElementTree.SubElement(parent, name)
    if shape.type_name == "structure":
        _write_members(element, value, shape)
    else:
        element.text = _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}
