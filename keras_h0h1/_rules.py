"""Names of the theory's rules that have changed."""

import warnings

# Two papers have a rule.
_RENAMED = {"paper": "alimisis"}


def current_rule(argument: str, rule: str, stacklevel: int = 3) -> str:
    """The present name of a rule; an earlier one still works, with a DeprecationWarning.

    Args:
        argument: The name of the caller's argument, for the message.
        rule: What the caller was given.
        stacklevel: As in `warnings.warn`; 3 points to who called the caller.
    """
    if rule not in _RENAMED:
        return rule
    name = _RENAMED[rule]
    warnings.warn(
        f"The rule {rule!r} is now called {name!r}. Received: {argument}={rule!r}",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
    return name
