"""Fails if a public symbol has no docstring, or no entry in the built API reference.

    python docs/check_reference.py build/site/objects.inv

Public are the names in `__all__` of `keras_h0h1` and its packages, the functions and classes of
its public modules.
"""

import importlib
import inspect
import pkgutil
import sys
import zlib
from pathlib import Path

PACKAGE = "keras_h0h1"


def public_modules() -> list[str]:
    """The package and what `import keras_h0h1` offers below it, by dotted name."""
    found, pending = [], [PACKAGE]
    while pending:
        name = pending.pop()
        found.append(name)
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            value = getattr(module, public)
            if inspect.ismodule(value) and value.__name__ not in [*found, *pending]:
                pending.append(value.__name__)
    # Modules of pure functions beside the packages: they are imported by their full name.
    package = importlib.import_module(PACKAGE)
    for info in pkgutil.iter_modules(package.__path__, f"{PACKAGE}."):
        if not info.ispkg and not info.name.rpartition(".")[2].startswith("_"):
            found.append(info.name)
    return sorted(set(found))


def public_symbols() -> dict[str, object]:
    """Classes and functions by the name a user imports them under."""
    symbols = {}
    for name in public_modules():
        module = importlib.import_module(name)
        default = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == name]
        for public in getattr(module, "__all__", default):
            value = getattr(module, public)
            is_symbol = inspect.isclass(value) or inspect.isfunction(value)
            if is_symbol and not public.startswith("_"):
                symbols[f"{name}.{public}"] = value
    return symbols


def without_docstring(symbols: dict[str, object]) -> list[str]:
    """Names of symbols that say nothing about themselves; an inherited docstring does not count."""
    return [name for name, value in symbols.items() if not (value.__doc__ or "").strip()]


def inventory(path: Path) -> set[str]:
    """The names in a Sphinx inventory, version 2: four lines of header, then compressed lines."""
    header, _, packed = path.read_bytes().partition(b"zlib.\n")
    if not header.startswith(b"# Sphinx inventory version 2"):
        raise ValueError(f"This is not a Sphinx inventory of version 2. Received: path={path}")
    lines = zlib.decompress(packed).decode("utf-8").splitlines()
    return {line.split(" ", 1)[0] for line in lines}


def main(path: str) -> int:
    """Prints what is missing and returns the exit status."""
    symbols = public_symbols()
    documented = inventory(Path(path))
    # A symbol of the package itself is documented on its own package's page. One that has the name
    # of its module is documented under its full path.
    by_identity = {}
    for name, value in symbols.items():
        names = by_identity.setdefault(id(value), [f"{value.__module__}.{value.__qualname__}"])
        names.append(name)
    absent = sorted(
        names[-1] for names in by_identity.values() if not any(name in documented for name in names)
    )
    silent = sorted(without_docstring(symbols))
    for name in silent:
        print(f"{name} has no docstring")
    for name in absent:
        print(f"{name} is not in the API reference: add its module to docs/reference/")
    if not silent and not absent:
        print(f"{len(by_identity)} public symbols, each documented")
    return 1 if silent or absent else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
