"""A small shop that answers questions about its products, with every kind of metric in its natural place."""
