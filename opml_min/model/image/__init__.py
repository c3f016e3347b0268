"""The image: what the file and the memory of a model hold, read and written."""
