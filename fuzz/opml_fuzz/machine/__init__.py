"""Machine states, programs and witnesses to ask about, drawn at random; they are described, not executed."""
