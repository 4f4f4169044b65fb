"""How the shipped base models were made: `make base` runs all recipes; each writes its weights, its card and its scores.

None of them sees a like: they know what pictures look like and what is in them, not how people react.
"""
