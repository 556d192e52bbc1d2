"""Which attention a model computes with: the fused kernel where it is right, else the plain one.

On TPU the kernel is called by `splash`, not by Keras: Keras 3.15 computes causal attention without
the factor 1/sqrt(d) there, whatever was asked for; `docs/upstream/keras-tpu-attention.md` has the
report. Elsewhere Keras takes cuDNN's or PyTorch's.
"""

import contextvars
import functools

import keras
import numpy as np

from recipes.common.training.products import compiled_for_cpu
from recipes.common.training.splash import padded, splash_attention

# Of outputs that are averages of standard normal values. In bfloat16, in which a TPU multiplies,
# plain attention differs from float64 by up to 0.01 (lengths 64 to 1024, heads of 32 to 128, on a
# CPU); with a wrong mask and scale by more than 3.
TOLERANCE = 0.15

# Set while a step is compiled for devices that are not here, on which nothing can be run.
COMPILING_ONLY = contextvars.ContextVar("COMPILING_ONLY", default=False)


def on_tpu() -> bool:
    """Whether JAX computes on a TPU, or traces for one."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    # What Keras asks before it takes the kernel (keras.src.backend.jax.nn).
    return jax.devices()[0].platform == "tpu"


def products_are_faster() -> bool:
    """Whether `attention_by_products` takes a shorter step than Keras' own attention.

    It does on JAX on a CPU (`benchmarks/results/SPEED.md`). On TensorFlow no difference was seen,
    and PyTorch has a kernel.
    """
    return keras.backend.backend() == "jax" and compiled_for_cpu()


def attend(query, key, value, causal: bool, flash: bool | None = None):
    """Attention as the layers of a prepared model compute it, scaled by 1/sqrt(d), without a mask.

    Args:
        query: Shape `(batch, time, heads, d)`.
        key: The same shape.
        value: The same shape.
        causal: Whether a query sees its own and earlier keys alone.
        flash: `True`: the fused kernel, or an error; `False`: never; `None`: as Keras decides, on
            TPU the kernel.
    """
    tpu = on_tpu()
    if not flash and products_are_faster():
        return attention_by_products(query, key, value, causal)
    if tpu and flash is not False:
        return splash_attention(query, key, value, causal)
    return keras.ops.dot_product_attention(
        query,
        key,
        value,
        # As Keras' and KerasHub's layers do, and not the default.
        scale=query.shape[-1] ** -0.5,
        is_causal=causal,
        flash_attention=False if tpu else flash,
    )


def attention_by_products(query, key, value, causal: bool):
    """Attention in two products with the heads before the time, as XLA's CPU compiler wants it.

    Keras' own attention on JAX is an `einsum` with the time first, around which that compiler puts
    more copies and transpositions. Arguments as of `attend`.
    """
    ops = keras.ops
    # As JAX's own attention does: an exponential needs more than half precision.
    exact = keras.backend.result_type(query.dtype, "float32")
    rows = ops.transpose(ops.cast(query, exact), (0, 2, 1, 3))
    columns = ops.transpose(ops.cast(key, exact), (0, 2, 3, 1))
    logits = ops.matmul(rows, columns) * query.shape[-1] ** -0.5
    if causal:
        # Exactly 0 after the exponential.
        logits = ops.where(np.tri(logits.shape[-1], dtype=bool), logits, -1e30)
    weights = ops.cast(ops.softmax(logits), value.dtype)
    found = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
    return ops.transpose(found, (0, 2, 1, 3))


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


def inputs(length: int, heads: int, head_dim: int) -> tuple[np.ndarray, ...]:
    """Query, key and value of one example."""
    return tuple(np.random.default_rng(0).standard_normal((3, 1, length, heads, head_dim)))


def _difference(arrays, dtype: str, causal: bool) -> float:
    # Rounded first, so that both formulas see the same numbers.
    arrays = [keras.ops.convert_to_tensor(x, dtype) for x in arrays]
    rounded = [keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in arrays]
    found = attend(*arrays, causal, flash=True)
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    difference = np.abs(found - plain_attention(*rounded, causal=causal)).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def _said(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


@functools.lru_cache
def _why_not(dtype, length, heads, head_dim, causal) -> str | None:
    try:
        found = _difference(inputs(length, heads, head_dim), dtype, causal)
    except Exception as error:
        return _said(error)
    if found > TOLERANCE:
        kind = "causal" if causal else "not causal"
        return f"it differs from plain attention by {found:.2g} ({kind})"
    return None


def _why_not_by_shape(dtype, length, head_dim, causal) -> str | None:
    import jax

    shape = jax.ShapeDtypeStruct((1, length, 2, head_dim), dtype)
    try:
        jax.eval_shape(lambda x: attend(x, x, x, causal, flash=True), shape)
    except Exception as error:
        return _said(error)
    return None


def flash_available(
    dtype: str, length: int = 64, head_dim: int = 64, causal: bool = True
) -> str | None:
    """Why there is no fused attention that runs and is right, or `None` if there is.

    It is compared with plain attention on this machine. Where a step is compiled for devices that
    are not here nothing is run, and the sizes decide.

    Args:
        dtype: The layers' compute dtype.
        length: Tokens or patches of an example.
        head_dim: Dimensions of one head.
        causal: Whether the model's attention is causal.
    """
    if keras.backend.backend() == "tensorflow":
        return "Keras has none on TensorFlow"
    # 64 patches of a ViT would be four times the scores, and by the compiler for v5e a longer step.
    if on_tpu() and padded(length) ** 2 > 2 * length**2:
        return f"{length} positions would be padded to {padded(length)}"
    if COMPILING_ONLY.get():
        return _why_not_by_shape(dtype, length, head_dim, causal)
    # Two heads are enough: each is computed by itself.
    return _why_not(dtype, length, 2, head_dim, causal)


def choose(choice: str, length: int, head_dim: int, causal: bool) -> tuple[bool | None, str | None]:
    """The `flash` of `attend`, and the switch of Keras for the layers that are made next.

    Args:
        choice: `"auto"`, `"flash"` or `"plain"`.
        length: Tokens or patches of an example.
        head_dim: Dimensions of one head.
        causal: Whether the model's attention is causal.

    Returns:
        `flash` of `attend`, and a sentence to print if fused attention was expected and is not
        used.
    """
    # Layers read the switch when they are made; another model of this process may have set it.
    keras.config.enable_flash_attention()
    if on_tpu() or choice == "plain":
        keras.config.disable_flash_attention()
    if choice == "plain":
        return False, None
    if not on_tpu():
        return (True if choice == "flash" else None), None
    dtype = keras.config.dtype_policy().compute_dtype
    wrong = flash_available(dtype, length, head_dim, causal)
    said = f"Attention: plain; there is no fused attention on this TPU ({wrong})."
    if wrong:
        return False, said
    return (True if choice == "flash" else None), None
