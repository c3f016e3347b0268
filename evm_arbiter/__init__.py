"""The court of opML: contracts in EVM bytecode and the chain they run on."""
