"""Loss-driven learning rates for Keras 3 (being filled in)."""
