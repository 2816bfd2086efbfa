"""Class names, descriptions of motion, and the confusable classes that they distinguish."""
