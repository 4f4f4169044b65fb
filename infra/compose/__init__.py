"""The stack of `infra/stack/` on one server with docker compose, behind TLS. docs/production.md says how it is run."""
