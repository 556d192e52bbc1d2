"""The GPT recipe's data: tokens that its options name."""

import hashlib

from recipes.common.files.fingerprint import update as update_fingerprint
from recipes.gpt.config import GPTConfig
from recipes.text.tokens import Corpus, load_corpus


def load_data(config: GPTConfig) -> Corpus:
    """The tokens that the options name, resolved or not."""
    return load_corpus(
        config.paths,
        config.vocabulary or config.defaults["vocabulary"],
        config.validation_share,
        config.cache,
        config.token_dtype,
    )


def fingerprint(corpus: Corpus) -> str:
    """A digest of the tokens; of blocks of them where they are many."""
    key = hashlib.sha256()
    for tokens in (corpus.training, corpus.validation):
        update_fingerprint(key, tokens)
    return key.hexdigest()[:20]
