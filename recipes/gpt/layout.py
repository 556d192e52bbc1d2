"""Along which axes the language models' weights are cut by `--distribute model`."""

# Megatron-LM's cut (Shoeybi et al., arXiv 1909.08053): heads and hidden units are independent, so
# the first matrix of each block is cut by its outputs and the second by its inputs, and each block
# needs one sum over devices. The embedding is cut by tokens. What is not named, such as the scales
# of the norms, is on every device.
LAYOUT = {
    r".*token_embedding/embeddings": ("model", None),
    r".*token_embedding/reverse_embeddings": (None, "model"),
    r".*self_attention/(query|key|value)/kernel": (None, "model", None),
    r".*self_attention/(query|key|value)/bias": ("model", None),
    r".*self_attention/attention_output/kernel": ("model", None, None),
    r".*feedforward_(intermediate|gate)_dense/kernel": (None, "model"),
    r".*feedforward_(intermediate|gate)_dense/bias": ("model",),
    r".*feedforward_output_dense/kernel": ("model", None),
}
