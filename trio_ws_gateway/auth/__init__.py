"""May it? Tokens, keys and what is believed of them."""
