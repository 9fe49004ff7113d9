"""What runs in the sandbox to read a document. Only the standard library and pypdf can be imported there."""
