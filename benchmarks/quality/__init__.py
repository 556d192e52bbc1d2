"""Does a learning rate that follows the loss help? Many small trainings, compared fairly.

`PROTOCOL.md` beside this file says what is compared, and how; `python -m benchmarks.quality` runs
the trials of a study and reports them.
"""
