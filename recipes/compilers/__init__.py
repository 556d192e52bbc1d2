"""Compiled for a TPU or a GPU that is not here: memory, work, communication, bounds."""
