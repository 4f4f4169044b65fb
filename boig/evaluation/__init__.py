"""How good generated pictures are: intervals, distances between sets, ratings, tables, the report."""
