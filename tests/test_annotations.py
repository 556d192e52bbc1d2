"""Every public function and method of the library says what it takes and what it returns.

It reads source files alone, so one backend is enough.
"""

import ast
import os

import pytest

from tests.test_structure import is_private, modules

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "jax",
    reason="reads source files alone: once is enough",
)


def public_functions(statements, inside=""):
    """Pairs of a name and a function, for modules and classes; what `__init__` takes is public."""
    for node in statements:
        if isinstance(node, ast.ClassDef) and not is_private(node.name):
            yield from public_functions(node.body, f"{inside}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not is_private(node.name):
            yield f"{inside}{node.name}", node
        elif isinstance(node, ast.If):
            yield from public_functions([*node.body, *node.orelse], inside)


def missing(function, is_method):
    """The parameters without an annotation, and `"return"` where there is none for the result."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    static = any(getattr(d, "id", "") == "staticmethod" for d in function.decorator_list)
    if is_method and not static:
        positional = positional[1:]
    others = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    named = [*positional, *arguments.kwonlyargs, *others]
    names = [argument.arg for argument in named if argument.annotation is None]
    return names + (["return"] if function.returns is None else [])


def not_annotated(trees):
    return {
        f"{module}.{name}": names
        for module, tree in trees.items()
        for name, function in public_functions(tree.body)
        if (names := missing(function, is_method="." in name))
    }


def test_public_functions_are_annotated():
    assert not_annotated(modules("keras_h0h1")) == {}


def test_a_missing_annotation_is_found():
    source = """
def whole(a: int, *b: int, c: int = 1, **d: int) -> int: ...
def _private(a): ...
def some(a, *b, c=1, **d) -> int: ...
class Public:
    def __init__(self, a): ...
    @staticmethod
    def static(a) -> None: ...
    @property
    def value(self): ...
"""
    assert not_annotated({"m": ast.parse(source)}) == {
        "m.some": ["a", "c", "b", "d"],
        "m.Public.__init__": ["a", "return"],
        "m.Public.static": ["a"],
        "m.Public.value": ["return"],
    }
