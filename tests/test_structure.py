"""The shape of the code: no import circle, short modules and functions, private names stay home.

It reads source files alone, so one backend is enough.
"""

import ast
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "jax",
    reason="reads source files alone: once is enough",
)

ROOT = Path(__file__).parents[1]
MODULE_LINES, FUNCTION_LINES = 350, 80


def modules(*packages):
    """The syntax tree of every module, by its dotted name."""
    trees = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


def packages_among(names):
    return {name for name in names if any(other.startswith(f"{name}.") for other in names)}


def at_module_level(tree):
    """Statements that run on import: not those inside functions, nor for type checkers alone."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def imports(statements):
    """Pairs of a module and a name taken from it, `None` for `import module`."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            yield from ((node.module, alias.name) for alias in node.names)


def graph_of(trees):
    """For each module those of `trees` that it imports on import."""
    graph = {}
    for name, tree in trees.items():
        edges = set()
        for module, member in imports(at_module_level(tree)):
            inside = f"{module}.{member}"
            edges |= {inside if inside in trees else module} & trees.keys()
        graph[name] = edges - {name}
    return graph


def circle(graph):
    """Modules that import each other in a circle, or nothing."""
    state, path = {}, []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for other in sorted(graph[name]):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[name] = "done"
        path.pop()
        return []

    for name in graph:
        if name not in state and (found := visit(name)):
            return found
    return []


def lines_of_code(function):
    """Lines of a function without its docstring; its decorators do not count."""
    statements = function.body
    if ast.get_docstring(function) is not None:
        statements = statements[1:]
    return function.end_lineno - statements[0].lineno + 1 if statements else 0


def long_functions(trees):
    return {
        f"{name}.{node.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of_code(node) > FUNCTION_LINES
    }


def long_modules(*packages):
    return {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES
    }


def is_private(part):
    return part.startswith("_") and not part.startswith("__")


def private_imports(trees):
    """`module: target` for each import of a private name from outside the package that owns it.

    A private module of a package belongs to that package and what lies inside it; a private name
    of a module belongs to that module.
    """
    packages, found = packages_among(trees), set()
    for name, tree in trees.items():
        for module, member in imports(ast.walk(tree)):
            if module.split(".")[0] not in {"keras_h0h1", "recipes", "benchmarks", "tests"}:
                continue
            target = module if member is None else f"{module}.{member}"
            parts = target.split(".")
            for i, part in enumerate(parts):
                owner = ".".join(parts[:i])
                inside = name == owner or name.startswith(f"{owner}.")
                if is_private(part) and not (inside and (owner in packages or name == owner)):
                    found.add(f"{name}: {target}")
    return found


@pytest.mark.parametrize("package", ["keras_h0h1", "recipes"])
def test_no_module_imports_itself_by_way_of_others(package):
    assert circle(graph_of(modules(package))) == []


def test_modules_are_short():
    assert long_modules("keras_h0h1", "recipes") == set()


def test_functions_are_short():
    assert long_functions(modules("keras_h0h1", "recipes")) == set()


def test_private_names_stay_in_their_package():
    assert private_imports(modules("keras_h0h1", "recipes", "benchmarks")) == set()


def test_the_checks_find_what_they_look_for():
    trees = {
        "keras_h0h1.a": ast.parse("from keras_h0h1 import b"),
        "keras_h0h1.b": ast.parse("from keras_h0h1.c import x\ntry:\n    import os\nfinally: ..."),
        "keras_h0h1.c": ast.parse("if True:\n    import keras_h0h1.a\n"),
    }
    a, b, c = trees
    assert circle(graph_of(trees)) == [a, b, c, a]
    trees["keras_h0h1.c"] = ast.parse("def f():\n    import keras_h0h1.a\n")
    assert circle(graph_of(trees)) == []
    body = "".join(f"    x = {i}\n" for i in range(FUNCTION_LINES + 1))
    tree = ast.parse(f'def long():\n    """Doc."""\n{body}\ndef short():\n    """Doc.\n\n\n"""')
    assert long_functions({"m": tree}) == {"m.long"}
    trees = {
        "keras_h0h1": ast.parse(""),
        "keras_h0h1.p": ast.parse("from keras_h0h1 import _shared"),
        "keras_h0h1.p._own": ast.parse("from keras_h0h1._shared import _hidden"),
        "recipes.r": ast.parse("from keras_h0h1._shared import name"),
        "keras_h0h1.q": ast.parse("import keras_h0h1.p._own"),
    }
    assert private_imports(trees) == {
        "keras_h0h1.p._own: keras_h0h1._shared._hidden",
        "recipes.r: keras_h0h1._shared.name",
        "keras_h0h1.q: keras_h0h1.p._own",
    }
