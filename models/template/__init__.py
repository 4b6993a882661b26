"""What to copy when you begin a model of your own."""
