"""Getting the text out of documents that nobody vouches for, in the sandbox."""
