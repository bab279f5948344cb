"""The reference: what is right.  Standard library only; no I/O, no clock, no logging.

Read in this order: grammar, framing, chunked, parser, request, response, assembler, connection.
"""
