"""How a model reads and writes text: one module per kind of tokenizer, and chat templates."""
