"""Reading published pickles as data only: nothing in them is ever executed.

A pickle is a program for a stack machine. The machine here knows the instructions of numbers,
text, lists, dictionaries, tuples and NumPy arrays, and no others. `pickle.Unpickler` is not used:
it allocates its memo by the largest index that the file names, sets attributes on any object
(BUILD), and has no limit on how often one object is repeated.
"""

import io
import math
import pickletools
from typing import Any

import numpy as np

# The labels of ImageNet's 128,117 images in a batch take two instructions each.
INSTRUCTIONS = 2**20
_RESERVED = 2**16


class Refused(Exception):
    """The pickle asks for something other than data."""


class Damaged(Exception):
    """The pickle is not a sound one."""


class _Name(str):
    """A function or class that the pickle names: a text, never the thing itself."""

    __slots__ = ()


class _Type:
    """Stands in for `numpy.dtype`: a name of plain numbers, and their byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code, *_):
        code = _ascii(code)
        # Objects, fields and the like could hold anything: bytes, integers and floats only.
        if code not in ("b1", *(f"{k}{n}" for k in "ui" for n in "1248"), "f2", "f4", "f8"):
            raise Damaged(f"an array of {code[:40]!r}, not of plain numbers")
        self.dtype = np.dtype(code)

    def build(self, state):
        order = _ascii(state[1])
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """Stands in for `numpy.ndarray` until its content is known, and checked."""

    __slots__ = ("value",)

    def __init__(self):
        self.value = np.empty(0)


def _ascii(text) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else str(text)


# The module has moved between versions of NumPy.
_KNOWN = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    **{
        f"numpy.{core}.{module} {name}": name
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
        for name in ("_reconstruct", "scalar", "_frombuffer")
    },
}


class Machine:
    """Runs the instructions of one pickle."""

    def __init__(self, content: bytes):
        self.content = content
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        # Bytes that may be made beside those of the file: one object can be named many times.
        self.budget = 2 * len(content) + _RESERVED

    def run(self) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(self.content))):
            if count >= INSTRUCTIONS:
                raise Damaged(f"it has more than {INSTRUCTIONS:,} instructions")
            name = opcode.name
            if name == "STOP":
                if len(self.stack) != 1 or self.marks:
                    raise Damaged("it leaves more or less than one object")
                return self.stack[0]
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _NUMBERS_AND_TEXT:
                self.stack.append(argument)
            elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):
                # Python 2's text may be bytes; pickletools decodes it as latin1.
                self.stack.append(argument.encode("latin1"))
            elif name == "BYTEARRAY8":
                self.stack.append(bytes(argument))
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"do_{name.lower()}", None)
                if method is None:
                    raise Refused(f"it has the instruction {name}")
                method(argument)
        raise Damaged("it has no end")

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Damaged("it takes what is not there")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Damaged(f"a {kind.__name__} is expected")
        return self.stack[-1]

    def pop_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise Damaged("it repeats its content until it is larger than the file")

    def do_mark(self, _):
        self.marks.append(len(self.stack))

    def do_pop(self, _):
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def do_pop_mark(self, _):
        self.pop_mark()

    def do_put(self, index):
        self.memo[index] = self.stack[-1]

    do_binput = do_long_binput = do_put

    def do_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def do_get(self, index):
        self.stack.append(self.memo[index])

    do_binget = do_long_binget = do_get

    def do_list(self, _):
        self.stack.append(self.pop_mark())

    def do_tuple(self, _):
        self.stack.append(tuple(self.pop_mark()))

    def do_tuple1(self, _):
        self.stack.append((self.pop(),))

    def do_tuple2(self, _):
        second = self.pop()
        self.stack.append((self.pop(), second))

    def do_tuple3(self, _):
        third, second = self.pop(), self.pop()
        self.stack.append((self.pop(), second, third))

    def do_append(self, _):
        item = self.pop()
        self.top(list).append(item)

    def do_appends(self, _):
        items = self.pop_mark()
        self.top(list).extend(items)

    def do_dict(self, _):
        items = self.pop_mark()
        self.stack.append({})
        self.set_items(items)

    def do_setitem(self, _):
        value = self.pop()
        self.set_items([self.pop(), value])

    def do_setitems(self, _):
        self.set_items(self.pop_mark())

    def set_items(self, items):
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise Damaged("a key is not text")
            target[key] = value

    def do_global(self, name):
        if name not in _KNOWN:
            raise Refused(f"it asks for {name.replace(' ', '.')[:200]}")
        self.stack.append(_Name(_KNOWN[name]))

    def do_stack_global(self, _):
        name = self.pop()
        self.do_global(f"{self.pop()} {name}")

    def do_reduce(self, _):
        arguments, function = self.pop(), self.pop()
        if type(function) is not _Name or not isinstance(arguments, tuple):
            raise Damaged("it calls what is no function")
        self.stack.append(self.call(str(function), arguments))

    def call(self, function: str, arguments: tuple) -> Any:
        if function == "_reconstruct":
            return PickledArray()
        if function == "dtype":
            return _Type(*arguments)
        if function == "encode":  # how Python 3 writes bytes in the old formats
            text, encoding = arguments
            if not isinstance(text, str) or encoding != "latin1":
                raise Damaged("bytes in an encoding that is not latin1")
            self.spend(len(text))
            return text.encode("latin1")
        if function == "scalar":
            kind, content = arguments
            return self.array(content, kind, ())[()]
        if function == "_frombuffer":
            content, kind, shape, order = arguments
            result = PickledArray()
            result.value = self.array(content, kind, shape, order)
            return result
        raise Damaged(f"{function} is called")

    def do_build(self, _):
        state = self.pop()
        target = self.stack[-1]
        if not isinstance(state, tuple):
            raise Damaged("a state that is no tuple")
        if type(target) is _Type:
            target.build(state)
        elif type(target) is PickledArray:
            _, shape, kind, fortran, content = state
            target.value = self.array(content, kind, shape, "F" if fortran else "C")
        else:
            raise Refused("it changes an object that is no array")

    def array(self, content, kind, shape, order="C") -> np.ndarray:
        if isinstance(content, str):
            self.spend(len(content))
            content = content.encode("latin1")
        if type(kind) is not _Type or not isinstance(content, bytes) or order not in ("C", "F"):
            raise Damaged("an array without its type or content")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise Damaged("an array without a shape")
        if len(shape) > 8 or math.prod(shape) * kind.dtype.itemsize != len(content):
            raise Damaged(f"an array of shape {shape[:8]} in {len(content):,} bytes")
        return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_NUMBERS_AND_TEXT = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
