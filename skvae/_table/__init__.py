"""Tables in the user's units to encoded arrays, and back: pandas in, numpy out.

An encoded table is a float array (N, D) in which ``NaN`` means missing, numeric
columns are standardised and binary ones are 0/1.
"""
