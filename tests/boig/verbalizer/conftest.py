"""Property tests on a busy machine: fewer examples, no deadline."""

from hypothesis import settings

settings.register_profile("busy", deadline=None, max_examples=40)
settings.load_profile("busy")
