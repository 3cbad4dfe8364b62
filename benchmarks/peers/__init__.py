"""Other methods behind one interface: rows in, predictive distributions out."""
