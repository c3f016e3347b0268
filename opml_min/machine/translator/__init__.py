"""From RISC-V text to native code: regions of basic blocks, loops, bounds checks, one template per operation."""
