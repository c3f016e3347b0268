"""Questions about the machine: random states, programs and wrong witnesses."""
