"""Every run into one table, and the tables into a page that lets a reader decide."""
