"""A feed whose law is known: renderer, caption grammar and the law of likes.

The law and its reference classifier are for `simulate` and `evaluate` alone; no training module may import them.
"""
