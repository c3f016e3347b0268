"""How good the integer model is: an independent float reference, and perplexity beside it."""
