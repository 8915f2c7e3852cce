"""JSON Schemas (draft 2020-12) of config.json and its parts, written for this project.

Unknown fields are accepted everywhere, as the specification demands.
"""
