"""Who serves models, and the wire protocols they speak. A vendor's words never leave this floor."""
