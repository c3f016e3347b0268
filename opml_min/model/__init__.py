"""The model, natively: from a checkpoint to an image, and from an image to tokens, on the very memory that the machine uses."""
