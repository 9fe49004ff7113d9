"""Running code apart."""
