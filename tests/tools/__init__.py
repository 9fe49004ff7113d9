"""How tools are described, called and run."""
