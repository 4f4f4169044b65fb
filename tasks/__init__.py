"""A module or package per stage, same name: plain functions and callable classes that know no orchestrator."""
