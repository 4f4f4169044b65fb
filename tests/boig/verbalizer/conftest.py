"""Property tests that take long: fewer examples."""

from hypothesis import settings

settings.register_profile("fewer", settings.get_profile("busy"), max_examples=40)
settings.load_profile("fewer")
