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

# ZeRO's third stage (Rajbhandari et al., arXiv 1910.02054), also called FSDP: each weight is cut
# over the replicas, and what Keras' optimizers keep for it is cut as the weight is. XLA gathers a
# weight where it is used and sums its gradient into the shards. Of optimizer state alone Keras
# 3.15 has no layout: its variables take that of their weight, whatever a `LayoutMap` says. Cut is
# the model's or the hidden layer's width, which many devices divide where they do not divide the
# vocabulary; where there is a choice not a matrix's last axis, which a TPU pads to 128.
SHARDED = {
    r".*token_embedding/embeddings": (None, "batch"),
    r".*token_embedding/reverse_embeddings": ("batch", None),
    r".*position_embedding/(position_)?embeddings": (None, "batch"),
    r".*self_attention/(query|key|value)/kernel": ("batch", None, None),
    r".*self_attention/attention_output/kernel": (None, None, "batch"),
    r".*feedforward_(intermediate|gate)_dense/kernel": ("batch", None),
    r".*feedforward_output_dense/kernel": ("batch", None),
}
