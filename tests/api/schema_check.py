"""Whether an answer is what the OpenAPI document says, and nothing besides."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator


def closed(schema: Any) -> Any:
    """`schema` with every object closed: a member that it does not name is a mistake."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {name: closed(member) for name, member in schema.items()}
    # Only where `properties` is the keyword: a member may be called `properties` too.
    if isinstance(schema.get("properties"), Mapping) and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def assert_matches(document: Mapping[str, Any], name: str, body: Any) -> None:
    """Fails when `body` is not what the schema `name` of an OpenAPI document describes, unnamed members included."""
    schemas = document["components"]["schemas"]
    assert name in schemas, f"the document has no schema {name}"
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed(schemas)}}
    problems = [f"{error.json_path}: {error.message[:300]}" for error in Draft202012Validator(schema).iter_errors(body)]
    assert not problems, f"not a {name}: " + "; ".join(problems)
