"""Test suites written by others: RISC-V programs as ELF files, and the lines of TestFloat; and the binary32 that these lines check."""
