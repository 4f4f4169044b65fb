"""Rewards of a described picture in its brief, and the judge that checks them: two opinions of different origin."""
