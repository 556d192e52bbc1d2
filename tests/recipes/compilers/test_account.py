"""Programs as text: operations as XLA counts them, and messages and loops by hand."""

import pytest

from recipes.compilers.account import account
from recipes.compilers.hlo import parse
from tests.backends import only_on

pytestmark = only_on("jax", reason="reads programs; once is enough")


def _convolved(stride, padding, dilation, groups):
    import jax

    def f(x, k):
        y = jax.lax.conv_general_dilated(
            x,
            k,
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y.sum()

    return jax.value_and_grad(f, argnums=(0, 1))


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        (1, "SAME", 1, 1),
        (2, "SAME", 1, 1),
        (2, "VALID", 1, 1),
        (1, "SAME", 2, 1),
        (1, "SAME", 1, 4),
    ],
)
def test_convolutions_and_their_gradients_count_as_xla_counts_them(
    stride, padding, dilation, groups
):
    import jax

    shapes = (4, 11, 9, 8), (3, 3, 8 // groups, 12)
    arguments = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    lowered = jax.jit(_convolved(stride, padding, dilation, groups)).lower(*arguments)
    text = lowered.compiler_ir("hlo").as_hlo_text()
    counted = account(parse(text), {}).flops
    # XLA counts the sum over the result as well, which is below 2%.
    assert counted == pytest.approx(lowered.cost_analysis()["flops"], rel=0.02)


def test_products_count_as_xla_counts_them():
    import jax
    import jax.numpy as jnp

    def f(x, w):
        return jnp.einsum("bqnd,bknd->bnqk", x, x).sum() + jnp.einsum("bqnd,ndm->bqm", x, w).sum()

    arguments = [jax.ShapeDtypeStruct(s, "float32") for s in ((2, 32, 4, 64), (4, 64, 128))]
    lowered = jax.jit(jax.grad(f, argnums=(0, 1))).lower(*arguments)
    found = account(parse(lowered.compiler_ir("hlo").as_hlo_text()), {}).flops
    assert found == pytest.approx(lowered.cost_analysis()["flops"], rel=0.02)


SPLASH = """HloModule m
ENTRY main (q: bf16[2,4,128,32], k: bf16[2,4,128,32], x: f32[8,8]) -> f32[8,8] {
  m = s8[1,1,1]{2,1,0} constant({...})
  q = bf16[2,4,128,32]{3,2,1,0} parameter(0)
  k = bf16[2,4,128,32]{3,2,1,0} parameter(1)
  x = f32[8,8]{1,0} parameter(2)
  splash_mha_fwd_residuals.4 = bf16[2,4,128,32]{3,2,1,0} custom-call(m, q, k, k), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128, \\"block_kv\\": 128}"
}}, metadata={op_name="jit(train_step)/vmap(splash_mha_fwd)"}
  splash_mha_dkv_no_residuals.1 = bf16[2,4,128,32]{3,2,1,0} custom-call(m, q, k, k), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{}"
}}, metadata={op_name="jit(train_step)/vmap(splash_mha_dkv)"}
  ROOT y = f32[8,8]{1,0} dot(x, x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""  # noqa: E501


def test_a_kernels_attributes_may_have_line_breaks():
    found = account(parse(SPLASH), {})
    assert found.kernels == {"splash attention": 2}
    # Two products of queries and keys forward, four for the gradients of keys and values.
    assert found.flops == 6 * 2 * (2 * 4) * 128 * 128 * 32 + 2 * 8**3


LOOP = """HloModule m
body (p: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  p = (s32[], f32[8,8]{1,0}) parameter(0)
  i = s32[] get-tuple-element(p), index=0
  x = f32[8,8]{1,0} get-tuple-element(p), index=1
  y = f32[8,8]{1,0} dot(x, x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT t = (s32[], f32[8,8]{1,0}) tuple(i, y)
}
condition (p: (s32[], f32[8,8])) -> pred[] {
  p = (s32[], f32[8,8]{1,0}) parameter(0)
  i = s32[] get-tuple-element(p), index=0
  n = s32[] constant(5)
  ROOT less = pred[] compare(i, n), direction=LT
}
update (x: f32[8,8]) -> f32[8,8] {
  x = f32[8,8]{1,0} parameter(0)
  ROOT y = f32[8,8]{1,0} dot(x, x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
nothing (x: f32[8,8]) -> f32[8,8] {
  ROOT x = f32[8,8]{1,0} parameter(0)
}
ENTRY main (i: s32[], x: f32[8,8], b: pred[]) -> f32[8,8] {
  i = s32[] parameter(0)
  x = f32[8,8]{1,0} parameter(1)
  b = pred[] parameter(2)
  t = (s32[], f32[8,8]{1,0}) tuple(i, x)
  w = (s32[], f32[8,8]{1,0}) while(t), condition=condition, body=body
  y = f32[8,8]{1,0} get-tuple-element(w), index=1
  ROOT z = f32[8,8]{1,0} conditional(b, y, y), true_computation=update, false_computation=nothing
}
"""


def test_loops_count_as_often_as_they_run_and_updates_as_seldom():
    one = 2 * 8**3
    assert account(parse(LOOP), {}).flops == 5 * one + one
    assert account(parse(LOOP), {}, accumulate=4).flops == 5 * one + one / 4
    # Each product reads its operand twice and writes as much; the loop's test reads two integers.
    assert account(parse(LOOP), {}).bytes == pytest.approx(6 * 3 * 8 * 8 * 4, abs=100)


def test_messages_of_a_real_program():
    """Summing over two devices: both hold all of it, and each sends it once."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    x = jax.ShapeDtypeStruct((64, 32), "float32", sharding=sharding)
    compiled = jax.jit(lambda x: x.T @ x).lower(x).compile()
    (message,) = account(parse(compiled.as_text()), {"batch": 2}).messages
    assert (message.kind, message.axis, message.count) == ("all-reduce", "batch", 1)
    assert message.payload == message.sent == 32 * 32 * 4


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="Received: 'hello'"):
        parse("hello")
