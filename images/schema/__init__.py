"""The messages of the format: .proto files written by people, and the modules generated from them."""
