"""The executable specification of opML: read `spec/README.md` first."""
