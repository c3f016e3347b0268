"""What travels to and from the contract: encoded arguments, events and views."""
