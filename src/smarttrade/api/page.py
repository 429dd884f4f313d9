"""The document for readers: one page made from the OpenAPI document, complete in itself, and its place on the server.

The page needs nothing from anywhere else, and its policy forbids it to load anything.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Coroutine, Iterable, Mapping
from importlib import resources
from typing import Any, Final

from smarttrade.api.http import Application, Request, Response
from smarttrade.api.openapi import document
from smarttrade.api.routing import Route

DOCUMENT_PATH: Final = b"/openapi.json"
PAGE_PATH: Final = b"/docs"

_CODE: Final = re.compile(r"`([^`]+)`")
_SCHEMA_PREFIX: Final = "#/components/schemas/"
_WORDS: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


class Html(str):
    """Text that is markup already; everything else is escaped."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """An element. `class_` is written for `class`, `data_words` for `data-words`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    return Html(between.join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def prose(text: str) -> Html:
    """Text in which `backticks` mark what is typed."""
    return Html(_CODE.sub(r"<code>\1</code>", html.escape(text)))


# --- schemas ----------------------------------------------------------------------------------------------------


def kind(schema: Mapping[str, Any]) -> Html:
    """What a value is, in a few words; named schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMA_PREFIX)
        return element("a", name, href=f"#{name}")
    if "const" in schema:
        return element("code", json.dumps(schema["const"]))
    if "enum" in schema:
        return join([element("code", "null" if value is None else str(value)) for value in schema["enum"]], " ")
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return join([kind(each) for each in schema[several]], " or ")
    named = schema.get("type", "anything")
    if isinstance(named, list):
        return join([kind({**schema, "type": each}) for each in named], " or ")
    if named == "array":
        return join(["list of ", kind(schema["items"])])
    return Html(html.escape(_WORDS.get(named, named)))


def explained(schema: Mapping[str, Any]) -> Html:
    """A schema with all its members."""
    parts = [element("p", prose(schema["description"]), class_="quiet")] if "description" in schema else []
    for each in schema.get("oneOf", schema.get("anyOf", ())):
        parts.append(element("div", explained(each) if _has_members(each) else _brief(each)))
    if "properties" in schema:
        parts.append(_members(schema))
    elif schema.get("type") == "array" and _has_members(schema["items"]):
        parts.append(join(["list of ", explained(schema["items"])]))
    elif not parts or "enum" in schema or "const" in schema:
        parts.insert(0, kind(schema))
    if "additionalProperties" in schema:
        parts.append(join(["any name: ", kind(schema["additionalProperties"])]))
    parts += [element("pre", json.dumps(example, indent=2)) for example in schema.get("examples", ())]
    return join(parts)


def _members(schema: Mapping[str, Any]) -> Html:
    required = frozenset(schema.get("required", ()))
    rows = []
    for name, member in schema["properties"].items():
        shown = explained(member) if _has_members(member) else _brief(member)
        rows.append(_row(name, shown, needed=name in required))
    return element("table", *rows)


def _has_members(schema: Mapping[str, Any]) -> bool:
    if schema.get("type") == "array":
        return _has_members(schema["items"])
    several = schema.get("oneOf", schema.get("anyOf", ()))
    return "properties" in schema or any("properties" in each for each in several)


def _brief(schema: Mapping[str, Any]) -> Html:
    """A value without members: what it is, its limits, and what there is to know about it."""
    limits = [
        f"{word} {schema[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("minLength", "characters: at least"),
            ("maxLength", "characters: at most"),
            ("minItems", "elements: at least"),
            ("maxItems", "elements: at most"),
            ("default", "default"),
        )
        if name in schema
    ]
    parts = [join([kind(schema), *limits], ", ")]
    if "description" in schema:
        parts.append(prose(schema["description"]))
    return join(parts, " — ")


def _row(name: str, shown: Html, *, needed: bool) -> Html:
    return element("tr", element("td", element("code", name, class_="needed" if needed else "")), element("td", shown))


# --- operations -------------------------------------------------------------------------------------------------


def _operation(path: str, method: str, operation: Mapping[str, Any], components: Mapping[str, Any]) -> Html:
    parts = [element("p", _admission(operation["security"]), class_="quiet")]
    parameters = [_resolved(each, components) for each in operation.get("parameters", ())]
    if parameters:
        rows = [_row(each["name"], _parameter(each), needed=each["required"]) for each in parameters]
        parts += [element("h3", "Parameters"), element("table", *rows)]
    if "requestBody" in operation:
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        parts += [element("h3", "Body"), element("p", kind(asked))]
    rows = [_response(status, _resolved(each, components)) for status, each in operation["responses"].items()]
    parts += [element("h3", "Answers"), element("table", *rows)]
    heading = element(
        "summary",
        element("span", method.upper(), class_=f"method {method}"),
        element("span", path, class_="path"),
        element("span", operation["summary"], class_="says"),
    )
    words = f"{method} {path} {operation['summary']} {' '.join(operation['tags'])}".lower()
    return element("details", heading, element("div", *parts), id=operation["operationId"], data_words=words)


def _admission(security: Iterable[Mapping[str, list[str]]]) -> Html:
    """Who may call."""
    ways = list(security)
    if not ways:
        return Html("No key is needed.")
    names = [permission for way in ways for permission in way["Apikey"]]
    if not names:
        return Html("Signed; any valid key.")
    return join(["Signed; the key needs ", join([element("code", name) for name in names], " or "), "."])


def _parameter(parameter: Mapping[str, Any]) -> Html:
    schema = {
        **parameter["schema"],
        **({"description": parameter["description"]} if "description" in parameter else {}),
    }
    return join([f"in {parameter['in']}", _brief(schema)], ", ")


def _response(status: str, response: Mapping[str, Any]) -> Html:
    shown = join([kind(response["content"]["application/json"]["schema"]), prose(response["description"])], " — ")
    return _row("otherwise" if status == "default" else status, shown, needed=False)


def _resolved(value: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response or parameter itself where only its name is given."""
    if "$ref" not in value:
        return value
    _, _, group, name = value["$ref"].split("/")
    found: Mapping[str, Any] = components[group][name]
    return found


# --- the page ---------------------------------------------------------------------------------------------------


def render(described: Mapping[str, Any]) -> tuple[str, str]:
    """The page of an OpenAPI document, and the content security policy it is to be served with."""
    style, script = _file("page.css"), _file("page.js")
    info, components = described["info"], described["components"]
    sections, links = [], []
    for tag in described["tags"]:
        found = [
            (path, method, operation)
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
        shown = [_operation(path, method, operation, components) for path, method, operation in found]
        heading = [element("h2", tag["name"]), element("p", prose(tag["description"]), class_="quiet")]
        sections.append(element("section", *heading, *shown, data_group=""))
        links.append(_links(tag["name"], [(each["operationId"], each["summary"]) for _, _, each in found]))
    schemas = [
        element(
            "details", element("summary", name), element("div", explained(schema)), id=name, data_words=name.lower()
        )
        for name, schema in components["schemas"].items()
    ]
    sections.append(element("section", element("h2", "Shapes"), *schemas, data_group=""))
    introduction = [element("p", prose(part)) for part in info["description"].split("\n\n")]
    machine = element("p", "For programs: ", element("a", "openapi.json", href="openapi.json"), class_="quiet")
    search = Html('<input id="filter" type="search" placeholder="Filter ( / )" aria-label="Filter" autocomplete="off">')
    title = f"{info['title']} {info['version']}"
    body = element(
        "body",
        element("nav", element("h1", title), search, *links),
        element("main", element("h2", "API"), *introduction, machine, *sections),
        Html(f"<script>{script}</script>"),
    )
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>"
    )
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return f"{head}{body}</html>\n", policy


def _links(title: str, entries: Iterable[tuple[str, str]]) -> Html:
    items = [element("li", element("a", summary, href=f"#{name}")) for name, summary in entries]
    return element("section", element("h2", title), element("ul", *items))


def _file(name: str) -> str:
    return resources.files("smarttrade.api").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """How a content security policy names the one inline script or style that is allowed."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# --- its place on the server ------------------------------------------------------------------------------------


class Documentation:
    """An Application: /openapi.json and /docs, and everything else as `otherwise` answers it."""

    def __init__(self, routes: Iterable[Route], otherwise: Application) -> None:
        self._otherwise = otherwise
        described = document(routes)
        page, policy = render(described)
        self._pages = {
            DOCUMENT_PATH: _page(json.dumps(described).encode(), "application/json"),
            PAGE_PATH: _page(page.encode(), "text/html; charset=utf-8", ("content-security-policy", policy)),
        }

    def respond(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """See Application."""
        page = self._pages.get(request.path.removesuffix(b"/"))
        if page is None or request.method not in ("GET", "HEAD"):
            return self._otherwise(request)
        return Response(status=200, headers=page.headers, body=b"") if request.method == "HEAD" else page


def _page(body: bytes, content_type: str, *headers: tuple[str, str]) -> Response:
    every = (
        ("content-type", content_type),
        ("content-length", str(len(body))),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
        *headers,
    )
    return Response(status=200, headers=[(name.encode(), value.encode()) for name, value in every], body=body)
