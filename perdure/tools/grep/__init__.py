"""Looking for a pattern in files, in a process that can be ended: a pattern may take for ever."""
