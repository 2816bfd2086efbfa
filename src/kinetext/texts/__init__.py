"""What classes are called and how they move, unlike the classes they are taken for."""
