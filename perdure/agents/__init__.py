"""What is done to a whole agent: making one, changing it, forgetting its history, deleting it."""
