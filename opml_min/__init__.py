"""The fast implementation of opML: machine, models, players, command line."""
