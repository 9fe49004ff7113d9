"""What agents remember: editing blocks, searching history."""
