"""A module per stage: what its section of params.yaml holds. A flow imports its own and no other."""
