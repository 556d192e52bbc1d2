"""From the command line to a checked configuration, and errors of one line."""
