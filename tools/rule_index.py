"""Write docs/rules.md and docs/failures.md: which test proves which rule. Run: python tools/rule_index.py

Rules and failures are named in `docs/rules.toml`, each with a few words. A test cites them in its docstring, its name,
a comment in its body, its decorators, or a table that its decorators name:

    TR-50   EX-20 to EX-22   F-1…F-4        rules of behaviour; a range means every rule in it
    fault F12   faults F3, F4 and F6 to F8  failures; the word tells them from the rules of commands, F-1 to F-7

In a name, `_tr_50` and `_tr50` are the rule and `_f12` is the failure. Docstrings of modules and headings between tests
explain, they cite nothing.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"
CATALOGUE: Final = ROOT / "docs" / "rules.toml"

FAMILIES: Final = (
    "AR",
    "A",
    "BE",
    "C",
    "EX",
    "E",
    "F",
    "MC",
    "M",
    "P",
    "Q",
    "RF",
    "R",
    "SL",
    "S",
    "TP",
    "TR",
    "V",
    "X",
)
RULE: Final = rf"(?:{'|'.join(FAMILIES)})-\d+a?"
TO: Final = r"\s*(?:to|–|…|\.\.\.?)\s*"
RULES_IN_TEXT: Final = re.compile(rf"(?<![\w-])({RULE})(?:{TO}({RULE}))?(?![\w-])")
RULES_IN_NAME: Final = re.compile(
    rf"_({'|'.join(FAMILIES).lower().replace('|a|', '|')})(_?)(\d+a?)(?=_|$)"
)  # "a" is a word
FAULT_LIST: Final = re.compile(rf"\b[Ff]aults?\s+(F\d+(?:(?:,\s*|\s+and\s+|,\s*and\s+|{TO})F\d+)*)")
FAULTS_IN_LIST: Final = re.compile(rf"(F\d+)(?:{TO}(F\d+))?")

RULES_HEAD: Final = """# Rules

What the server promises, number by number, and the tests that fail when it does not; generated from the tests by
`python tools/rule_index.py`. The numbers are those of the behaviour that the server was written to; the words are a
reminder, not the rule. What no test can show has its reason instead. `docs/rules.toml` is the list.
"""

FAULTS_HEAD: Final = """# Failures

What went wrong in comparable systems, and the tests that play it here; generated from the tests by
`python tools/rule_index.py`. What cannot happen here has its reason instead. `docs/rules.toml` is the list.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One rule or failure of the catalogue."""

    number: str
    about: str
    reason: str | None = None  # why no test names it
    see: tuple[str, ...] = ()  # the rules that say the same; their tests are its tests


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every rule under its heading, and every failure, in the order of the file."""

    rules: Mapping[str, Sequence[Subject]]
    faults: Mapping[str, Sequence[Subject]]

    def numbers(self) -> list[str]:
        """Numbers of rules and failures, in order, so that a range can be looked up."""
        return [subject.number for part in (self.rules, self.faults) for group in part.values() for subject in group]


@dataclass(frozen=True, slots=True, order=True)
class Test:
    """One test function and all text in which it may cite."""

    path: str  # below tests/
    name: str
    text: str


def subject(number: str, entry: str | Mapping[str, str]) -> Subject:
    if isinstance(entry, str):
        return Subject(number, entry)
    see = tuple(entry.get("see", "").split())
    return Subject(number, entry["about"], entry.get("reason"), see)


def read_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """The file has two parts, `rules` and `faults`, of tables: a heading, below it numbers and words."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    rules, faults = (
        {heading: [subject(*entry) for entry in group.items()] for heading, group in content[part].items()}
        for part in ("rules", "faults")
    )
    return Catalogue(rules, faults)


def comments_by_line(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def strings(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def tables_of(module: ast.Module) -> dict[str, ast.stmt]:
    """What is assigned to names of the module: the cases that a decorator may name."""
    tables: dict[str, ast.stmt] = {}
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            tables |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            tables[statement.target.id] = statement
    return tables


def tests_of(source: str, path: str) -> Iterator[Test]:
    module = ast.parse(source)
    comments, tables = comments_by_line(source), tables_of(module)
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        named = {part.id for mark in node.decorator_list for part in ast.walk(mark) if isinstance(part, ast.Name)}
        cases: list[ast.expr | ast.stmt] = [
            *node.decorator_list,
            *(tables[name] for name in sorted(named) if name in tables),
        ]
        text = [ast.get_docstring(node) or "", *(string for part in cases for string in strings(part))]
        for part in [node, *cases]:
            text += [comments[line] for line in range(part.lineno, (part.end_lineno or 0) + 1) if line in comments]
        yield Test(path, node.name, "\n".join(text))


def read_tests(root: Path = TESTS) -> list[Test]:
    """Every test function below `root`, by file and place; tests of pages prove no rule."""
    files = [file for file in sorted(root.rglob("*.py")) if file.parent != root / "docs"]
    return [
        test for file in files for test in tests_of(file.read_text(encoding="utf-8"), file.relative_to(root).as_posix())
    ]


def spans(test: Test) -> Iterator[tuple[str, str | None]]:
    """Each citation as first number and, of a range, the last."""
    for first, last in RULES_IN_TEXT.findall(test.text):
        yield first, last or None
    for family, gap, number in RULES_IN_NAME.findall(test.name):
        yield (f"F{number}" if family == "f" and not gap else f"{family.upper()}-{number}"), None
    for listed in FAULT_LIST.findall(test.text):
        for first, last in FAULTS_IN_LIST.findall(listed):
            yield first, last or None


def cited(test: Test, numbers: Sequence[str]) -> set[str]:
    """The numbers that `test` cites; one that is not in `numbers` comes back as it was written."""
    found = set()
    for first, last in spans(test):
        if last in numbers and first in numbers:
            found |= set(numbers[numbers.index(first) : numbers.index(last) + 1])
        else:
            found |= {first, last or first}
    return found


def bare_faults(test: Test) -> list[str]:
    """Failures that lack the word which tells them from rules of commands."""
    return re.findall(r"(?<![\w-])F\d+\b", FAULT_LIST.sub("", test.text))


def citations(catalogue: Catalogue, tests: Sequence[Test]) -> dict[str, list[Test]]:
    """Number -> the tests that cite it."""
    numbers = catalogue.numbers()
    by_number: dict[str, list[Test]] = defaultdict(list)
    for test in tests:
        for number in cited(test, numbers):
            by_number[number].append(test)
    return dict(by_number)


def proof(subject: Subject, tests: Sequence[Test]) -> Iterator[str]:
    """Lines below a number: where it is proven, or why not."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        if test.name not in by_file[test.path]:
            by_file[test.path].append(test.name)
    for path, names in sorted(by_file.items()):
        yield f"- [{path}](../tests/{path}): {', '.join(f'`{name}`' for name in names)}"
    if subject.see:
        yield f"- see {', '.join(subject.see)}"
    if subject.reason is not None:
        yield f"- no test: {subject.reason}"


def page(head: str, groups: Mapping[str, Sequence[Subject]], proofs: Mapping[str, Sequence[Test]]) -> str:
    lines = [head]
    for heading, subjects in groups.items():
        lines += [f"## {heading}", ""]
        for subject in subjects:
            lines += [f"**{subject.number}** {subject.about}", "", *proof(subject, proofs.get(subject.number, [])), ""]
    return "\n".join(lines).rstrip() + "\n"


def pages(catalogue: Catalogue, proofs: Mapping[str, Sequence[Test]]) -> dict[Path, str]:
    """Path and content of both pages."""
    return {
        ROOT / "docs" / "rules.md": page(RULES_HEAD, catalogue.rules, proofs),
        ROOT / "docs" / "failures.md": page(FAULTS_HEAD, catalogue.faults, proofs),
    }


if __name__ == "__main__":
    rules = read_catalogue()
    for place, content in pages(rules, citations(rules, read_tests())).items():
        place.write_text(content, encoding="utf-8")
