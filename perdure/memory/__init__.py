"""What an agent remembers: the rules of editing its blocks, and of searching its history."""
