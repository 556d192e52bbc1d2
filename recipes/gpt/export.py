"""A trained language model as a task of KerasHub, which anyone can load and generate text with.

>>> import keras, keras_hub                                             # doctest: +SKIP
>>> model = keras.saving.load_model("runs/NAME/model.keras")            # doctest: +SKIP
>>> model = keras_hub.models.CausalLM.from_preset("runs/NAME/preset")   # doctest: +SKIP
>>> model.generate("def ", max_length=64)                               # doctest: +SKIP
"""

import json

import keras
import keras_hub
import tokenizers

from recipes.gpt.architectures import ARCHITECTURES
from recipes.text.documents import SEPARATOR


def export_tokenizer(
    tokenizer: tokenizers.Tokenizer,
) -> keras_hub.tokenizers.BytePairTokenizer | None:
    """KerasHub's form of a byte-level BPE tokenizer.

    Eager calls of KerasHub 0.32 do not split text before they merge: they pass a regular
    expression where the tokenizers library expects a literal string. Runs of white space, such as
    the indentation of code, can then become other tokens than in training; they decode to the same
    text. In `tf.data` pipelines the tokens are those of training.

    Args:
        tokenizer: As `recipes.text.tokenizer` trains it, or a file of the user's.

    Returns:
        A `GPT2Tokenizer`, for Llama too, whose own tokenizer is SentencePiece. `None` if the
        tokenizer is of another kind, or has no token `<|endoftext|>`, which `GPT2Tokenizer` needs.
    """
    content = json.loads(tokenizer.to_str())
    splitter, model = content["pre_tokenizer"] or {}, content["model"]
    byte_level = splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True)
    if model["type"] != "BPE" or not byte_level or content["normalizer"]:
        return None
    if tokenizer.token_to_id(SEPARATOR) is None or splitter["add_prefix_space"]:
        return None
    # Older files of the tokenizers library have each merge as one text.
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return keras_hub.tokenizers.GPT2Tokenizer(vocabulary=tokenizer.get_vocab(), merges=merges)


def export_task(
    language_model: keras.Model,
    arch: str,
    tokenizer: tokenizers.Tokenizer | None,
    context: int,
) -> keras_hub.models.CausalLM:
    """The task with the weights of a trained model, which it shares.

    Args:
        language_model: From `recipes.gpt.model.build_language_model`.
        arch: What it was built as, a name of `ARCHITECTURES`.
        tokenizer: What the model was trained with; `None` for a bare token file.
        context: Tokens in a window, the default length of generated text.

    Returns:
        The architecture's task, such as a `GPT2CausalLM`, not compiled. Without a tokenizer that
        KerasHub has, it generates from token ids instead of text.
    """
    backbone = language_model.get_layer("next_token").backbone
    task, preprocessor = ARCHITECTURES[arch].task()
    exported = None if tokenizer is None else export_tokenizer(tokenizer)
    if exported is not None:
        preprocessor = preprocessor(exported, sequence_length=context)
    else:
        preprocessor = None
    return task(backbone=backbone, preprocessor=preprocessor, compile=False)
