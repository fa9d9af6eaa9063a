"""The house rules that a machine can check: layers, banned calls, sizes, the app's settings."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOUNDATIONS = {"errors", "config", "fingerprint", "atomic", "disk", "outcomes", "progress", "pairs_schema", "numbers"}
LAYERS = {
    **dict.fromkeys(FOUNDATIONS, 0),
    **dict.fromkeys(("data", "clip", "influence", "store", "phantoms"), 1),
    **dict.fromkeys(("curate", "insight", "verify"), 2),
    **dict.fromkeys(("jobs", "bench", "views"), 3),
    **dict.fromkeys(("cli", "commands", "__main__"), 4),
}
# Within the upper layers only these edges are allowed: benchmarks measure the steps.
SAME_LAYER = {("bench", "jobs"), ("cli", "commands"), ("__main__", "cli")}
PRODUCT = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py")), *sorted((ROOT / "chips_core").rglob("*.py"))]
MAX_FUNCTION, MAX_FILE, MAX_PAGE = 50, 400, 150


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "chips_core").parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def test_layers__no_upward_or_sideways_import() -> None:
    wrong = []
    for path in sources("chips_core"):
        own = package_of(path)
        if own == "__init__":
            continue
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] != "chips_core" or len(parts) < 2 or parts[1] not in LAYERS:
                continue
            other = parts[1]
            allowed = other == own or LAYERS[other] < LAYERS[own] or (own, other) in SAME_LAYER
            if own in FOUNDATIONS and other in FOUNDATIONS:
                allowed = True
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_layers__no_import_goes_round_in_a_circle() -> None:
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PRODUCT}
    needs = {name: {other for other, _ in imports(path) if other in names} for name, path in names.items()}
    for name, others in needs.items():  # a module of a package is imported, not the package
        others -= {other for other in others if any(inner.startswith(f"{other}.") for inner in others | {name})}
    left = dict(needs)
    while free := [name for name, others in left.items() if not (others - {name}) & left.keys()]:
        for name in free:
            del left[name]
    circles = {name for name in left if name in _reached(name, left)}
    assert not circles, f"these need each other: {sorted(circles)}"


def _reached(start: str, needs: dict[str, set[str]]) -> set[str]:
    """Returns all modules that a module needs, directly or not."""
    found: set[str] = set()
    coming = needs[start] & needs.keys()
    while coming:
        found |= coming
        coming = {other for name in coming for other in needs[name] & needs.keys()} - found
    return found


def test_layers__every_package_is_known() -> None:
    unknown = {package_of(path) for path in sources("chips_core")} - set(LAYERS) - {"__init__"}
    assert not unknown


@pytest.mark.parametrize(
    ("folder", "banned"),
    [
        ("chips_core", ("streamlit",)),
        ("pages", ("torch", "chips_core.atomic", "sqlite3")),
    ],
)
def test_imports__kept_out(folder: str, banned: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(folder)
        for name, line in imports(path)
        if any(name == b or name.startswith(b + ".") for b in banned)
    ]
    assert not wrong, "\n".join(wrong)


def test_imports__influence_knows_torch_math_and_errors_only() -> None:
    allowed = ("torch", "math", "chips_core.errors", "chips_core.influence")
    language = (
        "collections",
        "concurrent",
        "contextlib",
        "dataclasses",
        "typing",
        "enum",
        "functools",
        "itertools",
        "__future__",
    )
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("chips_core/influence")
        for name, line in imports(path)
        if not any(name == a or name.startswith(a + ".") for a in (*allowed, *language))
    ]
    assert not wrong, "\n".join(wrong)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_a1_c1__nothing_is_called_that_runs_code_or_hides_damage() -> None:
    words = (
        "LOAD_TRUNCATED_IMAGES",
        "weights_only=False",
        "allow_pickle=True",
        "yaml.load(",
        "import pickle",
        "shell=True",
    )
    wrong = [
        f"{path.relative_to(ROOT)} holds {word}"
        for folder in ("chips_core", "pages")
        for path in sources(folder)
        for word in words
        if word in path.read_text(encoding="utf-8")
    ]
    assert not wrong, "\n".join(wrong)


def test_m5__only_atomic_writes_files() -> None:
    banned = {
        "write_text",
        "write_bytes",
        "to_parquet",
        "to_csv",
        "memmap",
        "save",
        "savez",
        "save_file",
        "write_table",
    }
    wrong = []
    for folder in ("chips_core", "pages"):
        for path in sources(folder):
            if path.name == "atomic.py":
                continue
            for name, call in calls(path):
                modes = [ast.unparse(a) for a in call.args[1:2]] + [
                    ast.unparse(k.value) for k in call.keywords if k.arg == "mode"
                ]
                opens = name in ("open", "os.fdopen") or name.endswith(".open")
                writes = opens and any(set(m.strip("'\"")) & set("wax+") for m in modes if m[:1] in "'\"")
                last = name.rsplit(".", 1)[-1]
                to_disk = last in banned and not _writes_to_memory(call, name)
                if writes or to_disk:
                    wrong.append(f"{path.relative_to(ROOT)}:{call.lineno} {name}(…)")
    assert not wrong, "\n".join(wrong)


def _writes_to_memory(call: ast.Call, name: str) -> bool:
    """Whether the call goes through `atomic`, or fills a handle or a buffer that somebody else writes."""
    first = ast.unparse(call.args[0]) if call.args else ""
    handles = ("buffer", "handle", "memory", "stream", "out", "sink", "file")
    if name == "save":  # safetensors.torch.save returns bytes
        return True
    return name.startswith(("atomic.", "self.", "pool.", "writer.")) or first.split(".")[0] in handles


def test_d13__no_except_that_swallows_everything() -> None:
    wrong = []
    for folder in ("chips_core", "pages"):
        for path in sources(folder):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ExceptHandler):
                    caught = ast.unparse(node.type) if node.type else "everything"
                    reraises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                    if caught in ("everything", "BaseException", "Exception") and not reraises:
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} except {caught}")
    assert not wrong, "\n".join(wrong)


def test_sizes__functions_and_files() -> None:
    wrong = []
    for folder, most in (("chips_core", MAX_FILE), ("pages", MAX_PAGE)):
        for path in sources(folder):
            text = path.read_text(encoding="utf-8")
            limit = MAX_FILE if "parts" in path.parts else most
            if len(text.splitlines()) > limit:
                wrong.append(f"{path.relative_to(ROOT)} has {len(text.splitlines())} lines, {limit} at most")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > MAX_FUNCTION:
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_k3__dataset_text_never_reaches_markdown() -> None:
    """Markdown and HTML take constants, or names that are built from our own words and numbers (checked by suffix)."""
    banned = {"markdown", "write", "html", "caption", "latex", "title", "header", "subheader"}
    wrong = []
    for path in [ROOT / "app.py", *sources("pages")]:
        if not path.is_file():
            continue
        for name, call in calls(path):
            owner, _, last = name.rpartition(".")
            if owner.split(".")[0] not in ("st", "column", "box", "left", "right", "middle") or last not in banned:
                continue
            if call.args and not _our_words(call.args[0]):
                wrong.append(f"{path.relative_to(ROOT)}:{call.lineno} {name}({ast.unparse(call.args[0])})")
            if any(k.arg == "unsafe_allow_html" for k in call.keywords):
                wrong.append(f"{path.relative_to(ROOT)}:{call.lineno} unsafe_allow_html")
    assert not wrong, "\n".join(wrong)


def _our_words(node: ast.expr) -> bool:
    """A constant, or an f-string whose parts are numbers by their format (`:,` `:.2f` `:d`)."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).rsplit(".", 1)[-1].isupper()
    if isinstance(node, ast.IfExp):
        return _our_words(node.body) and _our_words(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return all(
            isinstance(v, ast.Constant) or (isinstance(v, ast.FormattedValue) and v.format_spec) for v in node.values
        )
    return False


def test_k1__this_machine_only_and_silent() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["enableCORS"] is True
    assert config["server"]["enableStaticServing"] is False
    assert config["server"]["maxUploadSize"] <= 200
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert config["client"]["toolbarMode"] == "minimal"
    assert config["runner"]["magicEnabled"] is False  # it draws bare values as Markdown


def test_requirements__pinned_and_said_once() -> None:
    names: list[str] = []
    for file in ("requirements.txt", "requirements-dev.txt", "benchmarks/requirements-peers.txt"):
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith("#"):
                name, sep, _ = line.partition("==")
                assert sep, f"{file}: {line} is not pinned"
                names.append(name.lower())
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("package", "least"), [("pyarrow", (14, 0, 1)), ("torch", (2, 6, 0))])
def test_b7_c1__versions_that_ran_code_of_their_input_are_ruled_out(package: str, least: tuple[int, ...]) -> None:
    (pinned,) = re.findall(rf"^{package}==([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.M)
    assert tuple(map(int, pinned.split("."))) >= least
    installed = version(package).split("+")[0]
    assert tuple(map(int, installed.split(".")[:3])) >= least
