"""The loop: ask the model, run the tools it calls, and again, until there is a reason to stop."""
