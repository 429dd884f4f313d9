"""The OpenAPI 3.1 document, assembled from the routes that the server really has and the schemas they name."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from smarttrade.api.routing import Route, Security
from smarttrade.api.schemas import PATH_PARAMETERS, QUERIES, SCHEMAS, Schema, ref
from smarttrade.domain.account import Mode, Permission

OPENAPI_VERSION: Final = "3.1.0"
JSON_TYPE: Final = "application/json"
KEY_SCHEME: Final = "Apikey"
SIGNATURE_SCHEME: Final = "Signature"

INTRODUCTION: Final = """\
A trader describes a whole trade once: entry, targets, stop loss. This server carries it out and answers as the \
3Commas SmartTrade V2 API does.

Signing: send the key in the header Apikey, and in the header Signature the HMAC-SHA256, as hexadecimal digits under \
the key's secret, of the path with its query and the body, byte for byte as they are sent. A key made for an RSA \
public key signs the same bytes with RSASSA-PKCS1-v1_5 and SHA-256, as base64.

Parameters may be in the query, in a JSON body or in a form with brackets (position[units][value]=1); the query wins. \
Unknown ones are ignored, null and the empty text count as absent. Figures may be text or JSON numbers; answers carry \
them as text, exactly.

Actions are asynchronous: an answer shows the trade right after the request was accepted. What the exchange does with \
the order comes later; a refusal of the exchange shows in the trade, not in the HTTP status."""

TAGS: Final[Mapping[str, str]] = {
    "System": "Is the server there, and is my key good.",
    "Users": "The user behind the key.",
    "Accounts": "Where trades run, and what is held there.",
    "Market data": "What can be traded, and at which prices. No key is needed.",
    "SmartTrades": "Whole trades and their legs.",
    "Sandbox": "Scripted prices, time and exchange. Unsigned, for callers on the same machine only.",
}

ERRORS: Final[Mapping[int, str]] = {
    400: "Parameters of the wrong shape, or an action that the present state does not allow.",
    401: "Key, signature or address is not accepted.",
    403: "The key lacks the permission, or this is not possible for the account or the caller.",
    404: "There is no such thing, or it belongs to somebody else.",
    422: "A rule is broken: limits of the market, volumes that do not add up, something that cannot happen.",
}
OTHER_ERRORS: Final = (
    "Any other refusal: 405 wrong method, 413 body too large, 415 neither JSON nor a form, 418 and 429 too many "
    "requests, 500 our fault, 503 not now (nothing was done), 504 the exchange did not answer."
)

_VARYING: Final = re.compile(r":([a-z_]+)")
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of `routes`. Raises KeyError for a schema, tag or path parameter that nobody has described."""
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, None] = {}
    for route in routes:
        paths.setdefault(_VARYING.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route)
        tags[route.tag] = None
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "SmartTrade Server",
            "version": version("smarttrade"),
            "summary": "Whole trades, described once and carried out.",
            "description": INTRODUCTION,
        },
        "tags": [{"name": name, "description": TAGS[name]} for name in tags],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "responses": {_error_name(status): _error(text) for status, text in ERRORS.items()}
            | {_error_name(None): _error(OTHER_ERRORS)},
            "parameters": {"ForcedMode": _FORCED_MODE},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _security(route),
    }
    parameters = [_path_parameter(name) for name in _VARYING.findall(route.path)]
    asked = route.request_schema
    if asked is not None and (asked in QUERIES or route.method == "GET"):
        parameters += _query_parameters(QUERIES[asked] if asked in QUERIES else SCHEMAS[asked])
    elif asked is not None:
        operation["requestBody"] = {
            "required": "required" in SCHEMAS[asked],
            "content": {JSON_TYPE: {"schema": ref(asked)}},
        }
    if route.security is Security.SIGNED:
        parameters.append({"$ref": "#/components/parameters/ForcedMode"})
    if parameters:
        operation["parameters"] = parameters
    operation["responses"] = _responses(route)
    return operation


def _operation_id(route: Route) -> str:
    """`post_v2_smart_trades_id_add_funds`: unique, since method and path are."""
    words = _WORD.findall(route.path.removeprefix("/public/api").replace(":", ""))
    return "_".join([route.method.lower(), *words])


def _security(route: Route) -> list[dict[str, list[str]]]:
    """Ways to be allowed in: one for each permission that is enough. The empty list: nobody has to sign."""
    if route.security is Security.NONE:
        return []
    enough = [[permission.value] for permission in Permission if permission in route.permissions] or [[]]
    return [{KEY_SCHEME: names, SIGNATURE_SCHEME: []} for names in enough]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}


def _query_parameters(schema: Schema) -> list[dict[str, Any]]:
    required = frozenset(schema.get("required", ()))
    found = []
    for name, member in schema["properties"].items():
        shape = dict(member)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": shape}
        if "description" in shape:
            parameter["description"] = shape.pop("description")
        found.append(parameter)
    return found


def _responses(route: Route) -> dict[str, Any]:
    if route.response_schema is None or route.response_schema not in SCHEMAS:
        raise KeyError(f"{route.method} {route.path} answers something that has no schema: {route.response_schema}")
    answer = {"description": "Done.", "content": {JSON_TYPE: {"schema": ref(route.response_schema)}}}
    refusals = set(route.error_statuses)
    if route.security is Security.SIGNED:
        refusals |= {400, 401}  # 400: a Forced-Mode that does not exist
    if route.permissions:
        refusals.add(403)
    responses: dict[str, Any] = {str(route.status): answer}
    for status in sorted(refusals):
        responses[str(status)] = {"$ref": f"#/components/responses/{_error_name(status)}"}
    responses["default"] = {"$ref": f"#/components/responses/{_error_name(None)}"}
    return responses


def _error_name(status: int | None) -> str:
    if status is not None and status not in ERRORS:
        raise KeyError(f"nobody has described what status {status} means")
    return "OtherError" if status is None else f"Error{status}"


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON_TYPE: {"schema": ref("Error")}}}


_FORCED_MODE: Final = {
    "name": "Forced-Mode",
    "in": "header",
    "required": False,
    "description": "Which accounts lists show in this answer, whatever the user's mode is.",
    "schema": {"type": "string", "enum": [mode.value for mode in Mode]},
}
_SECURITY_SCHEMES: Final = {
    KEY_SCHEME: {
        "type": "apiKey",
        "in": "header",
        "name": "Apikey",
        "description": "The public part of an API key. It must have the permission that the operation names.",
    },
    SIGNATURE_SCHEME: {
        "type": "apiKey",
        "in": "header",
        "name": "Signature",
        "description": "HMAC-SHA256 (hexadecimal) or RSA with SHA-256 (base64) over path, query and body as sent.",
    },
}
