"""The quality of a quantised model: an independent float reference, and perplexity compared with it."""
