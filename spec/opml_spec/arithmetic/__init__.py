"""Numbers: fixed point, the elementary functions on it, and IEEE-754 binary32. Every function rounds once. `spec/README.md` section 4."""
