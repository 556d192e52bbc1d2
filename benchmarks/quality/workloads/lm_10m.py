"""Sizes: a language model of 10 million parameters."""

from benchmarks.quality.language_models import sized

WORKLOAD = sized("lm_10m", "10 million", width=320, depth=7)
