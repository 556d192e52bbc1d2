"""Accelerators: what their makers say of them, and what XLA has to be told."""

import dataclasses

# XLA's description of a GPU to compile for (xla/stream_executor/device_description.proto), as its
# own programs print it on that GPU.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared_memory}
  shared_memory_per_block_optin: {shared_memory_optin}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {l2_cache}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{device_name}"
"""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Args:
        platform: JAX's name of it, `"tpu"` or `"cuda"`.
        xla_name: What its compiler calls it.
        flops: Peak bfloat16 FLOP/s, dense.
        memory: Bytes.
        bandwidth: Of that memory, bytes per second.
        network: Bytes per second that it sends to its neighbours over all links together.
        clock: Cycles per second; of a TPU that at which `flops` is reached, of a GPU the highest.
        gpu: For a GPU, what XLA has to know of it besides.
    """

    platform: str
    xla_name: str
    flops: float
    memory: int
    bandwidth: float
    network: float
    clock: float
    gpu: dict | None = None

    @property
    def target_config(self) -> str:
        """XLA's description of a GPU, as a text proto."""
        return _GPU.format(
            **self.gpu,
            bandwidth=int(self.bandwidth),
            clock=self.clock / 1e9,
            memory=self.memory,
            device_name=self.xla_name,
        )


_HOPPER = {
    "cores": 132, "fpus": 128, "l2_cache": 50 * 2**20, "capability": (9, 0),
    "shared_memory": 233472, "shared_memory_optin": 232448,
}  # fmt: skip
_AMPERE = {
    "cores": 108, "fpus": 64, "l2_cache": 40 * 2**20, "capability": (8, 0),
    "shared_memory": 167936, "shared_memory_optin": 166912,
}  # fmt: skip

# Each figure was compared in November 2026 with these pages.
# "TPU v4", docs.cloud.google.com/tpu/docs/v4: 275 TFLOP/s, 32 GiB, 1200 GB/s; it does not state the
#   links. "TPUv4", glennklockwood.com/garden/processors/TPUv4: 400 Gbit/s each way; a torus of 3
#   axes has six of them.
# "TPU v5e", docs.cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 16 GB, 819 GB/s (another edition:
#   800 GiB/s), links of 400 GB/s in both directions together.
# "TPU v5p", docs.cloud.google.com/tpu/docs/v5p-training: 459 TFLOP/s, 95 GiB, 2765 GB/s, links of
#   1200 GB/s in both directions together.
# "A100", glennklockwood.com/garden/processors/A100, after NVIDIA's data sheet: 312 TFLOP/s, 80 GB,
#   2039 GB/s, NVLink 300 GB/s each way, 108 multiprocessors; 1410 MHz by the device query on
#   "NVIDIA A100 40GB with NVLINK", upb-pc2.atlassian.net.
# "H100", glennklockwood.com/garden/processors/h100, after NVIDIA's: 989.4 TFLOP/s dense, 80 GB,
#   3.35 TB/s, NVLink 900 GB/s in both directions together, 132 multiprocessors. 989.4 is reached at
#   1.83 GHz; the clock here is the highest one, which XLA's description of the GPU has.
# "NVIDIA H200", aiwiki.ai/wiki/nvidia_h200: an H100 with 141 GB and 4.8 TB/s.
# NVIDIA's own pages were not among those that could be read. Not stated on any page: the memory of
# an H100 that its driver leaves free, about 79.6 of the 80 GiB.
# A TPU's clock follows from its peak: 4 (v5e) or 8 matrix units of 128 x 128 multiply-adds a cycle.
CHIPS = {
    "tpu-v4": Chip("tpu", "v4", 275e12, 32 * 2**30, 1200e9, 300e9, 1.05e9),
    "tpu-v5e": Chip("tpu", "v5e", 197e12, 16 * 2**30, 819e9, 200e9, 1.5e9),
    "tpu-v5p": Chip("tpu", "v5p", 459e12, 95 * 2**30, 2765e9, 600e9, 1.75e9),
    "a100": Chip(
        "cuda", "NVIDIA A100-SXM4-80GB", 312e12, 80 * 2**30, 2039e9, 300e9, 1.41e9, _AMPERE
    ),
    "h100": Chip(
        "cuda", "NVIDIA H100 80GB HBM3", 989e12, 80 * 2**30, 3352e9, 450e9, 1.98e9, _HOPPER
    ),
    "h200": Chip("cuda", "NVIDIA H200", 989e12, 141 * 10**9, 4800e9, 450e9, 1.98e9, _HOPPER),
}  # fmt: skip
