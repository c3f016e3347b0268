"""The court of opML: the contracts that decide, in EVM bytecode, and the chain that they run on."""
