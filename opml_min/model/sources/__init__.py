"""Models that others have made, read into one form: llama2.c checkpoints, GGUF files, Hugging Face folders."""
