"""How much? Budgets of identities, and who shares them."""
