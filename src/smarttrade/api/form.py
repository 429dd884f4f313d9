"""Query strings and form bodies with nested keys, read by the rules of Rack (auth.md 5.2, wire-quirks 2).

    position[units][value]=0.01              -> {"position": {"units": {"value": "0.01"}}}
    types_to_create[]=a&types_to_create[]=b  -> {"types_to_create": ["a", "b"]}
    steps[][id]=1&steps[][x]=2&steps[][id]=3 -> {"steps": [{"id": "1", "x": "2"}, {"id": "3"}]}
    steps[0][id]=1&steps[1][id]=3            -> {"steps": [{"id": "1"}, {"id": "3"}]}

A list of objects grows when a key comes that its last element already has, deeper keys included. Indices are an
extension of ours: an object whose keys are all integers stands for a list in numeric order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

MAX_PAIRS: Final = 4096
"""Pairs of one query or form. A full create request has about 60; Rack's own limit is the same."""

MAX_DEPTH: Final = 32
"""Levels of one key: Rack's limit. Ours need five, and nothing that walks the result can run out of stack."""

_MAX_INDEX_DIGITS: Final = 9

_BRACKETED: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_PART: Final = re.compile(r"\[([^\[\]]*)\]")
_INDEX: Final = re.compile(rf"[0-9]{{1,{_MAX_INDEX_DIGITS}}}")


class MalformedForm(Exception):
    """A query or form that no nested value can be made of: conflicting shapes, too deep, too long, not UTF-8."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key  # the parameter that could not be placed, in the notation of error keys


def parse_form(raw: bytes) -> dict[str, Any]:
    """The nested parameters that `raw` describes; leaves are text. Raises MalformedForm and nothing else."""
    if not raw:
        return {}
    root: dict[str, Any] = {}
    for key, value in _pairs(raw):
        match = _BRACKETED.fullmatch(key)
        if match is None:  # no brackets, or broken ones: the name of a plain parameter
            root[key] = value
            continue
        path = [match[1], *_PART.findall(match[2])]
        if len(path) > MAX_DEPTH:
            raise MalformedForm(path[0])
        _place(root, path, value)
    return {name: _with_lists(value) for name, value in root.items()}


def merge(base: Mapping[str, Any], winning: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with every leaf of `winning` put over it; objects are merged, lists are replaced whole."""
    merged = dict(base)
    for name, value in winning.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _pairs(raw: bytes) -> Iterator[tuple[str, str]]:
    if raw.count(b"&") >= MAX_PAIRS:
        raise MalformedForm("base")
    for pair in raw.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            key = _decoded(name, name)
            yield key, _decoded(value, name)


def _decoded(encoded: bytes, name: bytes) -> str:
    try:
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise MalformedForm(unquote_to_bytes(name).decode(errors="replace")) from None


def _place(root: dict[str, Any], path: list[str], value: str) -> None:
    """Put `value` where `path` leads; an empty part means: into the list that is here."""
    node: Any = root
    for place, part in enumerate(path):
        rest = path[place + 1 :]
        if part and isinstance(node, dict):
            if not rest:
                node[part] = value
                return
            node = node.setdefault(part, {} if rest[0] else [])
        elif not part and isinstance(node, list):
            if not rest:
                node.append(value)
                return
            if not (node and isinstance(node[-1], dict) and rest[0] and not _has(node[-1], rest)):
                node.append({} if rest[0] else [])
            node = node[-1]
        else:
            raise MalformedForm(_written(path[:place]))


def _has(node: Any, path: Iterable[str]) -> bool:
    """Whether `node` already holds a value at `path`. A path through a further list never counts, as in Rack."""
    for part in path:
        if not part or not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _written(path: list[str]) -> str:
    return path[0] + "".join(f"[{part}]" for part in path[1:])


def _with_lists(node: Any) -> Any:
    """`node` with each object whose keys are all integers made a list."""
    if isinstance(node, list):
        return [_with_lists(element) for element in node]
    if not isinstance(node, dict):
        return node
    members = {name: _with_lists(value) for name, value in node.items()}
    if all(_INDEX.fullmatch(name) for name in members):
        return [members[name] for name in sorted(members, key=int)]
    return members
