"""Sizes: a language model of 1.1 million parameters."""

from benchmarks.quality.language_models import sized

WORKLOAD = sized("lm_1m", "1.1 million", width=128, depth=3)
