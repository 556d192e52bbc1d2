"""Text: documents, tokenizer, token files, batches, language models."""
