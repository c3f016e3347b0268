"""Random disputes on the specification's court and on the contract: the same acts, many of them spoiled on purpose."""
