"""Tools of MCP servers: found, vetted and run."""
