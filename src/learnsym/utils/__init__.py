"""Files, random numbers and collectives; needs nothing of the rest of the package."""
