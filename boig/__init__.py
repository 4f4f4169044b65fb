"""The nouns that two or more stages share. Nothing here knows of an orchestrator."""
