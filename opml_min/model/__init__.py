"""Models run in native code: a checkpoint becomes an image, and an image gives tokens, on the machine's own memory."""
