"""Running code that nobody vouches for: each job in a process of its own, apart from everything of the server's."""
