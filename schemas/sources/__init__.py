"""Vendors' messages in carebell's words: mappings of JSON, decoders of text and binary formats."""
