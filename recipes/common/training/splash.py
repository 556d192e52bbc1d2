"""JAX's splash attention on TPU: scaled, causal or not, of any length, over several devices.

Keras 3.15 calls the same kernel without the scale and always causal, and only where one device
computes (`docs/upstream/keras-tpu-attention.md`).
"""

import keras

# The kernel's blocks are multiples of a register's 128 lanes. Longer blocks read keys and values
# fewer times; 512 is the longest whose scores, in float32, leave room in the memory of every TPU.
_BLOCKS = (512, 256, 128)


def padded(length: int) -> int:
    """The length that the kernel computes, a multiple of 128.

    Example:

    >>> padded(64), padded(1024)
    (128, 1024)
    """
    return -(-length // _BLOCKS[-1]) * _BLOCKS[-1]


def block_size(length: int) -> int:
    """The longest block that divides the length, a multiple of 128.

    Example:

    >>> block_size(1024), block_size(768), block_size(384)
    (512, 256, 128)
    """
    return next(block for block in _BLOCKS if length % block == 0)


def _kernel(length: int, heads: int, causal: bool):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    kind = splash.CausalMask if causal else splash.FullMask
    mask = splash.MultiHeadMask([kind((length, length)) for _ in range(heads)])
    block = block_size(length)
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    sizes = splash.BlockSizes(**{f"block_{name}": block for name in names})
    return splash.make_splash_mha(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1)


def _attend(query, key, value, causal):
    import jax
    import jax.numpy as jnp
    from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

    _, length, heads, head_dim = query.shape
    more = padded(length) - length
    query = query * jnp.asarray(head_dim**-0.5, query.dtype)
    # The kernel's order is (heads, time, head_dim), one example at a time.
    query, key, value = (
        jnp.pad(x.transpose(0, 2, 1, 3), ((0, 0), (0, 0), (0, more), (0, 0)))
        for x in (query, key, value)
    )
    kernel = _kernel(length + more, heads, causal)
    # What was added stands at the end, where a causal mask hides it.
    segments = None
    if more and not causal:
        places = jnp.arange(length + more)
        segments = SegmentIds(q=jnp.zeros_like(places), kv=jnp.where(places < length, 0, 1))
    found = jax.vmap(lambda q, k, v: kernel(q, k, v, segment_ids=segments))(query, key, value)
    return found[:, :, :length].transpose(0, 2, 1, 3)


def _cut(shape, distribution):
    """How batch and heads lie on the devices: an axis that does not divide them is not used."""
    from jax.sharding import PartitionSpec

    mesh = distribution.device_mesh
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))

    def axis(name, count):
        return name if name in sizes and count % sizes[name] == 0 else None

    return PartitionSpec(axis(distribution.batch_dim_name, shape[0]), None, axis("model", shape[2]))


def splash_attention(query, key, value, causal: bool):
    r"""Attention by the kernel, $\mathrm{softmax}(Q K^T / \sqrt{d})\,V$ for each head.

    Under a distribution of Keras each device computes its own examples and heads (`shard_map`):
    XLA cannot cut a Pallas kernel by itself.

    Args:
        query: Shape `(batch, time, heads, d)`.
        key: The same shape.
        value: The same shape.
        causal: Whether a query sees its own and earlier keys alone.

    Returns:
        The same shape and dtype.
    """
    import jax

    distribution = keras.distribution.distribution()
    if distribution is None or distribution.device_mesh.devices.size == 1:
        return _attend(query, key, value, causal)
    cut = _cut(query.shape, distribution)
    # The kernel's outputs do not say over which axes they vary, which is what would be checked.
    on_each = jax.shard_map(
        lambda *parts: _attend(*parts, causal),
        mesh=distribution.device_mesh.backend_mesh,
        in_specs=(cut, cut, cut),
        out_specs=cut,
        check_vma=False,
    )
    return on_each(query, key, value)
