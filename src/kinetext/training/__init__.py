"""A method, its training clips and its texts in; a checkpoint out."""
