"""Several devices and several hosts."""
