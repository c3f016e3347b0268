"""Training runs in native code: what the tape of a training image computes, on the machine's own memory."""
