"""Models in other formats, read into one kind of checkpoint: llama2.c, GGUF, Hugging Face, and images themselves."""
