"""Argument checks for schedules, optimizers and recipes of your own; the library uses the same.

Each returns the checked value as a plain Python object, and its error ends in `Received: ...`.
"""

from keras_h0h1._validation import check_choice, check_integer, check_number

__all__ = ["check_choice", "check_integer", "check_number"]
