"""Reading files that may be damaged, and writing files that are never half written."""
