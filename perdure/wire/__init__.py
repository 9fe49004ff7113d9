"""The public JSON: what is said to callers and how what they say is read. Knows the domain and nothing else of ours."""
