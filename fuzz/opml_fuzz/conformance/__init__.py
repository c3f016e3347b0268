"""Suites that others have written: RISC-V programs as ELF files, and TestFloat."""
