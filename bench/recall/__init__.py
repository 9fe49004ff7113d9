"""How much of the evidence search finds: long personal conversations, invented for this, with questions about them."""
