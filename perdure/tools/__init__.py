"""What agents may call: how a tool is described, how its call is read, and how it is run."""
