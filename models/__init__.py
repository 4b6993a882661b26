"""What data scientists edit: features, models, and how they are judged."""
