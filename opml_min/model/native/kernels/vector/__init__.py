"""Vector code for matrix products and attention, written as LLVM instructions."""
