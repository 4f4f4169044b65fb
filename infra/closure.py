"""Which first-party files a module runs: its import closure, read from the source with `ast`, nothing imported.

Imports inside functions count (flows import lazily), and so does `import_module` of a literal name; imports under `if TYPE_CHECKING:` do
not (they never run).
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

FIRST_PARTY = ("base", "boig", "flows", "infra", "tasks")
_BY_NAME = ("import_module", "__import__")


def closure(start: Path, root: Path = Path(".")) -> list[Path]:
    """Paths, relative to `root` and sorted, of `start` and all first-party modules that it imports, near or far.

    `__init__.py` files that hold nothing but a docstring are left out: they run nothing.

    Raises:
        ValueError: a first-party import that leads nowhere.
    """
    seen: set[Path] = set()
    waiting = [Path(start)]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting.extend(file for module in modules(root / path, path) for file in _files(module, path, root))
    return sorted(path for path in seen if path.name != "__init__.py" or _runs_something(root / path))


def modules(file: Path, path: Path | None = None) -> tuple[str, ...]:
    """Dotted names that a file imports, in any scope; `from a import b` gives `a.b`, which may be a module or a name in `a`.

    Args:
        file: where it lies.
        path: its path relative to the root, for relative imports; `file` itself by default.
    """
    return _modules(file, path or file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _modules(file: Path, path: Path, _changed_ns: int) -> tuple[str, ...]:
    names: list[str] = []
    for node in _running(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.parts[: -node.level]) if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            names.extend(f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _BY_NAME:
            names.extend(a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return tuple(names)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in [other, *_running(other)])
            continue
        yield node
        yield from _running(node)


def _files(module: str, importer: Path, root: Path) -> list[Path]:
    """The first-party files that importing a dotted name runs: packages on the way, and the module."""
    parts = module.split(".")
    if parts[0] not in FIRST_PARTY:
        return []
    found = []
    for length in range(1, len(parts) + 1):
        base = Path(*parts[:length])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if (root / path).is_file():
                found.append(path)
    reached = max((length for length in range(1, len(parts) + 1) if _is_module(root / Path(*parts[:length]))), default=0)
    if reached < len(parts) - 1:  # the last part may be a name inside the module
        raise ValueError(f"{importer}: imports {module}, but the project has no {'/'.join(parts[: reached + 1])}")
    return found


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


@lru_cache
def _runs_something(init: Path) -> bool:
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in ast.parse(init.read_text()).body)
