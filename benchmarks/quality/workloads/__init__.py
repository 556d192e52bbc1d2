"""One file for each workload, with its `WORKLOAD`."""
