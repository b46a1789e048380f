"""The doctor: reads a BOP dataset wholly and says what is wrong with it, each cause once, with file and remedy."""
