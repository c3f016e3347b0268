"""Text to tokens and back: one module per kind of tokenizer, and chat templates."""
