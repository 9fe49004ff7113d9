"""The nouns: frozen structs, events, errors and ids. Imports nothing else of ours."""
