"""A wrapper that offers what the wrapped optimizer offers."""

import inspect
import warnings
from typing import Any

import keras

# These compute with `self.variables` and `self.add_variable` alone: inherited, they are right.
_INHERITED = {
    "add_optimizer_variables",
    "add_variable",
    "add_variable_from_reference",
    "assign",
    "assign_add",
    "assign_sub",
    "load_own_variables",
    "save_own_variables",
}


class DelegatingOptimizer(keras.optimizers.Optimizer):
    """An optimizer around `inner_optimizer`: options and methods are those of the inner one.

    Every public attribute that the wrapper's own class does not define is read from and written
    to the inner optimizer, and every public method that Keras' base class defines is called on
    it. Subclasses list in `_own` the attributes that live on the wrapper.
    """

    _own = frozenset({"name", "built", "inner_optimizer"})

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name in dir(keras.optimizers.Optimizer):
            defined = any(
                name in vars(base) for base in cls.__mro__ if issubclass(base, DelegatingOptimizer)
            )
            method = getattr(keras.optimizers.Optimizer, name)
            if not name.startswith("_") and callable(method):
                if not defined and name not in _INHERITED:
                    setattr(cls, name, _delegated(name, method))

    def _wrap(self, optimizer) -> None:
        """Sets the inner optimizer, whose options take the place of the wrapper's own."""
        self.inner_optimizer = optimizer
        # What the base class's constructor has left would hide the inner optimizer's values.
        for name in list(self.__dict__):
            if not name.startswith("_") and name not in self._own:
                del self.__dict__[name]

    def _build_wrapper(self, variables) -> None:
        """Keras' own `build`, without the averages and sums that the inner optimizer has."""
        self.__dict__.update(use_ema=False, gradient_accumulation_steps=None)
        try:
            keras.optimizers.Optimizer.build(self, variables)
        finally:
            del self.__dict__["use_ema"], self.__dict__["gradient_accumulation_steps"]

    def __getattr__(self, name: str) -> Any:
        inner = vars(self).get("inner_optimizer")
        if inner is None or name.startswith("_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        own = inspect.getattr_static(type(self), name, None)
        if isinstance(own, property):
            # Python comes here too where the wrapper's own property raised an AttributeError.
            # The property counts, not what the inner optimizer has under its name: once more.
            return own.__get__(self)
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        inner = vars(self).get("inner_optimizer")
        if inner is None or name.startswith("_"):
            super().__setattr__(name, value)
            return
        self._check_option(name, value)
        is_own = name in self._own or isinstance(getattr(type(self), name, None), property)
        if not is_own and hasattr(inner, name):
            setattr(inner, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        # Whatever `__setattr__` put there, as `unittest.mock.patch.object` does.
        inner = vars(self).get("inner_optimizer")
        if name in vars(self) or inner is None or name not in vars(inner):
            super().__delattr__(name)
        else:
            delattr(inner, name)

    def _check_option(self, name, value) -> None:
        """Raises where an option of the inner optimizer cannot be set any more."""
        if name == "gradient_accumulation_steps" and self.built and value != getattr(self, name):
            raise ValueError(
                "`gradient_accumulation_steps` decides which variables the optimizer has, so it "
                "has to be set before the optimizer is built. "
                f"Received: gradient_accumulation_steps={value!r}, "
                f"built with {getattr(self, name)!r}"
            )

    def __dir__(self) -> list[str]:
        inner = vars(self).get("inner_optimizer")
        public = [name for name in dir(inner) if not name.startswith("_")]
        return sorted({*super().__dir__(), *public})

    def __repr__(self) -> str:
        inner = self.inner_optimizer
        with warnings.catch_warnings():
            # `MultiOptimizer` warns that a `lambda` is unsafe to save; nothing is saved here.
            warnings.filterwarnings("ignore", "The object being serialized", UserWarning)
            options = inner.get_config()
        options.pop("name", None)
        if "learning_rate" in options:
            options["learning_rate"] = inner._learning_rate
        text = ", ".join(
            f"{key}={value!r}"
            for key, value in options.items()
            if value is not None and not isinstance(value, dict)
        )
        return f"<{type(self).__name__}({type(inner).__name__}({text}))>"


def _delegated(name, method):
    def call(self, *args, **kwargs):
        return getattr(self.inner_optimizer, name)(*args, **kwargs)

    call.__name__, call.__doc__ = name, method.__doc__
    return call
