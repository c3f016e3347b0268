"""The digit classifier and the script that made it."""
