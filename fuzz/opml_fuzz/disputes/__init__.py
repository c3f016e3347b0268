"""The meeting of the specification's court and the contract: the same random acts, most of them spoiled, on both."""
