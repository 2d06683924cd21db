"""A model's fingerprint changes with the code that decides its answers, and with nothing else."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from reportcard.config.settings import Plugin
from reportcard.core import fingerprint, python_source, registry
from reportcard.core.fingerprint import source_digest, sources_of
from reportcard.predict.system import open_model

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "reportcard"  # links to the rooms and the plugins
MODELS = registry.models.names()
# Modules of reportcard.models that no answer depends on.
OTHER_TOOLS = {"reportcard.models.scaffold"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


# All modules that may decide an answer, and all Python files of the package, found and not listed.
CODE = {
    module_name(path): path
    for folder in ("model_adapters", "models")
    for path in sorted((PACKAGE / folder).rglob("*.py"))
    if "workers" not in path.parts
}
FILES = [
    path
    for folder in sorted(PACKAGE.iterdir())
    for path in ([folder] if folder.suffix == ".py" else sorted(folder.rglob("*.py")))
]


@cache
def read_by() -> dict[Path, set[str]]:
    """Which models' fingerprints read a file at all: those of others cannot change with it."""
    found: dict[Path, set[str]] = {}
    real = python_source.read_source
    for name in MODELS:

        def read(path: Path, name: str = name) -> bytes:
            found.setdefault(path.resolve(), set()).add(name)
            return real(path)

        python_source.read_source = read
        try:
            source_digest(registry.models.get(name))
        finally:
            python_source.read_source = real
    return found


@pytest.fixture(scope="module", autouse=True)
def forget_parsed_files() -> Iterator[None]:
    """The syntax trees of hundreds of edited files would slow every later garbage collection."""
    yield
    python_source._parse.cache_clear()


@cache
def digest_of(name: str) -> str:
    return source_digest(registry.models.get(name))


@cache
def covered(name: str) -> frozenset[str]:
    return frozenset(sources_of(registry.models.get(name)))


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], set[str]]:
    """The models whose fingerprint changes when a file's text is another one."""

    def edited(path: Path, text: str) -> set[str]:
        def read(other: Path) -> bytes:
            same = other.resolve() == path.resolve()
            return text.encode() if same else other.read_bytes()

        readers = read_by().get(path.resolve(), set())
        before = {name: digest_of(name) for name in readers}
        with monkeypatch.context() as patch:
            patch.setattr(python_source, "read_source", read)
            return {n for n in readers if source_digest(registry.models.get(n)) != before[n]}

    return edited


@pytest.mark.parametrize("module", CODE)
def test_an_edit_of_a_module_changes_the_models_that_reach_it(
    module: str, changed: Callable[[Path, str], set[str]]
) -> None:
    text = CODE[module].read_text("utf-8")
    reach_it = {name for name in MODELS if module in covered(name)}
    assert reach_it or module in OTHER_TOOLS, f"no model's fingerprint covers {module}"
    assert changed(CODE[module], f"{text}\n_edited = 1\n") == reach_it


@pytest.mark.parametrize("module", CODE)
def test_an_edit_inside_each_function_changes_a_model(
    module: str, changed: Callable[[Path, str], set[str]]
) -> None:
    """For each module: one more statement in every function at once, and every constant moved."""

    class Edit(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            self.generic_visit(node)
            node.body.append(ast.parse("_edited = 1").body[0])
            return node

    tree = ast.parse(CODE[module].read_text("utf-8"))
    text = ast.unparse(ast.fix_missing_locations(Edit().visit(tree)))
    assert changed(CODE[module], text) == (
        {name for name in MODELS if module in covered(name)}
        if any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
        else set()
    )


class Reworded(ast.NodeTransformer):
    """Every docstring is another one, and what had none has one."""

    def _reword(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        note = ast.parse('"""Another docstring."""').body
        future = [
            n for n in node.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"
        ]
        node.body = [*note, *future, *(n for n in node.body if n not in future)]
        return node

    visit_Module = visit_ClassDef = _reword  # noqa: N815
    visit_FunctionDef = visit_AsyncFunctionDef = _reword  # noqa: N815


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_comments_docstrings_and_blank_lines_change_no_model(
    path: Path, changed: Callable[[Path, str], set[str]]
) -> None:
    if path.resolve() not in read_by():
        return  # no fingerprint depends on the file
    text = path.read_text("utf-8")
    assert changed(path, f"\n# A comment.\n\n{text}\n\n# Another one.\n") == set()
    # Written out of the tree, so that no comment, blank line or layout of the file is left.
    tree = Reworded().visit(ast.parse(text))
    assert changed(path, ast.unparse(ast.fix_missing_locations(tree))) == set()


def imported_modules(module: ModuleType) -> set[str]:
    """The modules that a module has names from, as Python sees it once it is imported."""
    found = {
        value.__name__ if inspect.ismodule(value) else str(getattr(value, "__module__", ""))
        for value in vars(module).values()
    }
    return {name for name in found if name in CODE}


@pytest.mark.parametrize("name", MODELS)
def test_what_an_imported_adapter_uses_is_covered(name: str) -> None:
    """Checked against the modules in memory, which owe nothing to our reading of the source."""
    model = registry.models.get(name)
    todo, seen = [model.__module__], set[str]()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imported_modules(sys.modules[module])
    assert seen <= covered(name)


def test_what_counts_as_an_answer_is_covered_where_a_text_is_read() -> None:
    readers = {name for name in MODELS if "reportcard.core.model_answer" in covered(name)}
    assert {"openai_chat", "huggingface", "maira2", "replay", "chexagent2"} <= readers
    assert "normal" not in readers


def test_one_baseline_is_edited_without_the_other_six(
    changed: Callable[[Path, str], set[str]],
) -> None:
    path = CODE["reportcard.model_adapters.baselines"]
    text = path.read_text("utf-8")

    def instead(old: str, new: str) -> set[str]:
        assert text.count(old) == 1
        return changed(path, text.replace(old, new))

    assert instead('Report(findings="")', 'Report(findings=" ")') == {"empty_report"}
    # IndicationRetrieval falls back to the modal report.
    assert instead("-item[1], item[0]", "item[1], item[0]") == {
        *("most_frequent_report", "indication_retrieval")
    }
    assert len(instead("raw=text", "raw=text.strip()")) == 7


def test_a_users_file_covers_its_base_class_and_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "_parts").mkdir()
    files = {
        "mine": "from reportcard.model_adapters.huggingface import HuggingFace\n"
        "from ._words import WORDS\n\n\nclass Mine(HuggingFace):\n    words = WORDS\n",
        "_words": "from ._parts import deep\n\nWORDS = deep.WORDS\n",
        "_parts/__init__": "",
        "_parts/deep": "WORDS = 'a'\n",
        "unrelated": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    registry.offer(tmp_path / "mine.py")
    mine = registry.models.get("mine")
    names = {name.partition(".")[2] for name in sources_of(mine) if "plugin_" in name}
    assert names == {"mine", "_words", "_parts", "_parts.deep"}
    assert covered("huggingface") <= set(sources_of(mine))
    before = source_digest(mine)
    (tmp_path / "unrelated.py").write_text("x = 2\n")
    (tmp_path / "mine.py").write_text(f"# A comment.\n{files['mine']}")
    assert source_digest(mine) == before
    (tmp_path / "_parts" / "deep.py").write_text("WORDS = 'b'\n")
    assert source_digest(mine) != before


def test_a_file_that_moves_keeps_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    text = (
        "from reportcard.model_adapters.baselines import EmptyReport\n\n\n"
        "class Mine(EmptyReport):\n    pass\n"
    )
    found = set()
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(text)
        registry.offer(tmp_path / folder / "mine.py")
        found.add(source_digest(registry.models.get("mine")))
    assert len(found) == 1


def test_the_image_that_a_model_is_shown_is_part_of_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of models/views.py once left "Everything was up to date" and other answers."""
    monkeypatch.setattr(registry.models, "_offered", {})
    (tmp_path / "looks.py").write_text(
        "from reportcard.api import ModelCard, Prediction, Report\n"
        "from reportcard.models.views import frontal_of\n\n\n"
        "class Looks:\n"
        "    card = ModelCard('Names the image', needs_pixels=True)\n\n"
        "    def generate(self, requests):\n"
        "        seen = [(r.study_id, frontal_of(r).image_id) for r in requests]\n"
        "        return [Prediction(study, Report(image)) for study, image in seen]\n"
    )
    registry.offer(tmp_path / "looks.py")
    before = open_model(Plugin("looks", "looks", {})).fingerprint
    views = CODE["reportcard.models.views"]
    other = views.read_text().replace("FRONTAL_VIEWS.index(i.view)", "-FRONTAL_VIEWS.index(i.view)")
    assert other != views.read_text()
    monkeypatch.setattr(
        python_source,
        "read_source",
        lambda path: other.encode() if path.resolve() == views.resolve() else path.read_bytes(),
    )
    assert open_model(Plugin("looks", "looks", {})).fingerprint != before


REACHED = [
    "table = {'b': 'Other'}",  # by its name in a string
    "import sys\nOTHERS = [getattr(sys.modules[__name__], 'Other', None)]",
    "OTHERS = [cls for cls in object.__subclasses__()]",
    "def find(name):\n    return globals()[name]",
]


@pytest.mark.parametrize("more", REACHED)
def test_a_class_that_may_be_reached_is_covered(
    more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.models, "_offered", {})
    path = tmp_path / "two.py"
    text = (
        "class Mine:\n    def generate(self, requests): return []\n\n\n"
        "class Other:\n    x = 1\n    def generate(self, requests): return []\n\n\n"
    )
    found = {}
    for extra in ("", more):
        for x in (1, 2):
            path.write_text(text.replace("x = 1", f"x = {x}") + extra)
            registry.offer(f"{path}:Mine")
            found[bool(extra), x] = source_digest(registry.models.get("mine"))
    assert found[False, 1] == found[False, 2]
    assert found[True, 1] != found[True, 2]


ISOLATED = [name for name in MODELS if hasattr(registry.models.get(name), "worker")]


@pytest.mark.parametrize("name", ISOLATED)
def test_comments_of_a_worker_change_no_identity(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the worker and of the packages that it asks for."""
    model = registry.models.get(name)

    def identity(worker: str, requirements: str) -> object:
        for attribute, more in (("worker", worker), ("requirements", requirements)):
            text = originals[attribute].read_text("utf-8") + more
            path = tmp_path / originals[attribute].name
            path.write_text(text)
            monkeypatch.setattr(model, attribute, path)
        return model().identity

    originals: dict[str, Path] = {a: getattr(model, a) for a in ("worker", "requirements")}
    before = identity("", "")
    assert identity("\n# A comment.\n", "\n# A comment.\n\n") == before
    assert identity("\n_edited = 1\n", "") != before
    assert identity("", "\nnumpy==1.0 # a comment\n") != before


AWKWARD = '''"""Docstring."""

from __future__ import annotations

import os.path as p
from . import (sibling as s)

X: int = 1_000; Y = u"ü\\u2028\\U0001fae8\\x00"; Z = b"\\xff" b"a"; C = 1j; F = 1e999
T = (..., None, True)


@decorator(a=1, *args, **kw)
class A(B[int], metaclass=M):
    """Docstring of a class."""

    a: dict[str, int]
    b: str = f"{{}}" f"{x!r:>{w}.{p}}" "tail" f"" f"{y=}" f'{d["k"]}{"lit"}'
    "attribute docstring"

    async def f(self, a, /, b=1, *c, d, e=2, **g) -> "A":
        """Docstring."""
        async with x as (y, z):
            async for q in r:
                yield [i async for i in j if i if not i]
        global G
        nonlocal_ = lambda *a, b=2: (yield)
        return await z

    def empty(self):
        """Only a docstring."""


def g(x, *, y: int = ...):
    match x:
        case {"a": 1, **rest} if rest: pass
        case [1, *others] | A(b=2) | None: return others
        case -1.5 | "s" as name: ...
        case _:
            try:
                raise E from None
            except* (V, W) as group: del group
            else: assert x, "why"
            finally: x[1:2, ::3] += y if (y := 3) else ~x @ z
    while a < b <= c is not d not in e: continue
    else:
        for i, *j in {**k, "l": 1}: break
    return {*a}, {i: j for i, j in k}, (i for i in j), [*a], not a and b or c
'''


def test_the_digest_of_code_is_the_same_in_every_version_of_python(tmp_path: Path) -> None:
    """The value is that of Python 3.11, 3.12 and 3.13, whose `ast.dump` differ."""
    path = tmp_path / "awkward.py"
    path.write_text(AWKWARD)
    assert python_source.code_digest(path) == GOLDEN


GOLDEN = "67abc596e34ec885a9f5990368ad125c39881be78d8367fbc09b0f81f80521df"


def test_code_that_this_python_cannot_parse_counts_with_all_its_bytes(tmp_path: Path) -> None:
    """Such as a worker that runs on another version."""
    path = tmp_path / "old.py"
    found = []
    for text in ("print 1\n", "print 1 # a comment\n"):
        path.write_text(text)
        found.append(python_source.code_digest(path))
    assert found[0] != found[1]


def test_a_docstring_that_the_code_reads_is_code(tmp_path: Path) -> None:
    path = tmp_path / "prompt.py"
    found = []
    for words in ("Describe the image.", "Say what you see."):
        path.write_text(f'"""{words}"""\n\nPROMPT = __doc__\n')
        found.append(python_source.code_digest(path))
    assert found[0] != found[1]


def test_no_built_in_plugin_needs_all_classes_of_its_file() -> None:
    """So the rule for files of several models holds for all of them."""
    for name in MODELS:
        for path in sources_of(registry.models.get(name)).values():
            words = python_source.identifiers(python_source.parse(path))
            assert not words & fingerprint.REACHES_ANY_CLASS, path
