"""GPT language models."""
