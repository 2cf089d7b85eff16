"""Vectors of an input: OpenAI's embeddings, and other vendors' told in their words."""
