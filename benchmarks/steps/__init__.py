"""Training steps written by hand for each backend, and Keras' beside them, for `speed`."""
