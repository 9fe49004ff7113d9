"""What is done to a whole agent."""
