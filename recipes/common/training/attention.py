"""Whether fused attention computes what plain attention does, and a model without it if not.

Keras 3.15 on TPU computes causal attention without the factor 1/sqrt(d) wherever the sizes suit its
kernel, whatever was asked for; `docs/upstream/keras-tpu-attention.md` has the report.
"""

import contextvars
import functools

import keras
import numpy as np

# Of outputs that are averages of standard normal values. In bfloat16, in which a TPU multiplies,
# plain attention differs from float64 by up to 0.01 (lengths 64 to 1024, heads of 32 to 128, on a
# CPU); with a wrong mask and scale by more than 3.
TOLERANCE = 0.15

# Set while a step is compiled for devices that are not here, on which nothing can be run.
COMPILING_ONLY = contextvars.ContextVar("COMPILING_ONLY", default=False)


def _on_tpu() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    # What Keras asks before it takes the kernel (keras.src.backend.jax.nn).
    return jax.devices()[0].platform == "tpu"


def plain_attention(query, key, value, mask=None, causal=False, scale=None) -> np.ndarray:
    """The formula, in float64 with NumPy; arguments as of `keras.ops.dot_product_attention`."""
    query, key, value = (np.asarray(x, "float64") for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * np.einsum("bqnd,bknd->bnqk", query, key)
    allowed = np.ones(logits.shape, bool) if mask is None else np.broadcast_to(mask, logits.shape)
    if causal:
        allowed = np.logical_and(allowed, np.tri(*logits.shape[-2:], dtype=bool))
    logits = np.where(allowed, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bnqk,bknd->bqnd", weights / weights.sum(-1, keepdims=True), value)


def inputs(length: int, heads: int, head_dim: int, examples: int = 1) -> tuple[np.ndarray, ...]:
    """Query, key, value, and a mask by which the examples have different lengths."""
    random = np.random.default_rng(0)
    query, key, value = random.standard_normal((3, examples, length, heads, head_dim))
    ends = np.maximum(1, length // np.arange(1, examples + 1))
    mask = np.broadcast_to(np.arange(length) < ends[:, None, None], (examples, length, length))
    return query, key, value, mask[:, None]


def _difference(arrays, dtype: str, causal: bool, masked: bool) -> float:
    *arrays, mask = arrays
    # Rounded first, so that both formulas see the same numbers.
    arrays = [keras.ops.convert_to_tensor(x, dtype) for x in arrays]
    rounded = [keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in arrays]
    found = keras.ops.dot_product_attention(
        *arrays,
        mask=keras.ops.convert_to_tensor(mask) if masked else None,
        # As Keras' and KerasHub's layers do, and not the default.
        scale=rounded[0].shape[-1] ** -0.5,
        is_causal=causal,
        flash_attention=True,
    )
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    plain = plain_attention(*rounded, mask=mask if masked else None, causal=causal)
    difference = np.abs(found - plain).max()
    return float(difference) if np.isfinite(difference) else float("inf")


@functools.lru_cache
def _why_not(dtype, length, heads, head_dim, masks, tpu) -> str | None:
    # The TPU's kernel takes multiples of 128; for other lengths Keras logs its failure and falls
    # back, so the kernel is asked for a length that it does take as well.
    lengths = {-(-length // 128) * 128, length} if tpu else {length}
    for size in sorted(lengths, reverse=True):
        for causal, masked in masks:
            try:
                # Keras' TPU path reads the first example's mask only, so there are two of them.
                arrays = inputs(size, heads, head_dim, examples=2 if masked else 1)
                found = _difference(arrays, dtype, causal, masked)
            except Exception as error:
                if masked and len(masks) > 1:
                    continue  # Not every kernel takes a mask; without one it may still be had.
                return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
            if found > TOLERANCE:
                kind = ("causal" if causal else "not causal") + (", masked" if masked else "")
                return f"it differs from plain attention by {found:.2g} ({kind})"
    return None


def _why_not_by_shape(dtype, length, head_dim, tpu) -> str | None:
    # On a TPU sizes do not tell whether the kernel is right, and nothing can be run to see.
    if tpu:
        return "Keras' kernel for TPU has to be run to see whether it is right"
    import jax

    shape = jax.ShapeDtypeStruct((1, length, 2, head_dim), dtype)

    def attend(x):
        return keras.ops.dot_product_attention(x, x, x, flash_attention=True)

    try:
        jax.eval_shape(attend, shape)
    except Exception as error:
        return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return None


def flash_available(
    dtype: str, length: int = 64, head_dim: int = 64, causal: bool | None = None
) -> str | None:
    """Why there is no flash attention that runs and is right, or `None` if there is.

    Where a step is compiled for devices that are not here nothing is run: on a GPU the sizes
    decide, and on a TPU there is none.

    Args:
        dtype: The layers' compute dtype.
        length: Tokens or patches of an example.
        head_dim: Dimensions of one head.
        causal: Whether the model's attention is causal; `None`: both are tried.
    """
    if keras.backend.backend() == "tensorflow":
        return "Keras has none on TensorFlow"
    tpu = _on_tpu()
    if COMPILING_ONLY.get():
        return _why_not_by_shape(dtype, length, head_dim, tpu)
    distribution = keras.distribution.distribution()
    if tpu and distribution is not None and distribution.device_mesh.devices.size > 1:
        return "Mosaic kernels cannot be automatically partitioned over devices"
    kinds = (False, True) if causal is None else (causal,)
    masks = tuple((kind, masked) for kind in kinds for masked in (False, True))
    # Two heads are enough: each is computed by itself.
    return _why_not(dtype, length, 2, head_dim, masks, tpu)


def switch_off_where_wrong(length: int, head_dim: int, causal: bool) -> str | None:
    """Tells Keras to use plain attention on a TPU whose kernel is wrong; before a model is made.

    Elsewhere fused attention stays as it is: Keras takes cuDNN's or PyTorch's where they suit.

    Args:
        length: Tokens or patches of an example.
        head_dim: Dimensions of one head.
        causal: Whether the model's attention is causal.

    Returns:
        What was done, as a sentence to print; `None` if nothing.
    """
    if not _on_tpu():
        return None
    dtype = keras.config.dtype_policy().compute_dtype
    wrong = flash_available(dtype, length, head_dim, causal)
    if not wrong:
        return None
    # Layers read it when they are made, and hand `flash_attention=False` on, which is asked first.
    keras.config.disable_flash_attention()
    return f"Attention: plain; Keras' fused attention cannot be used on this TPU ({wrong})."
