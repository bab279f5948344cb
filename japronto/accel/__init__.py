"""The fast parts.  Same names and same results as ``japronto.pure``, and no behaviour of their own.

Whoever reads or runs these needs the reference: the C takes what is common and right, and hands over
everything else.
"""
