"""For people: one module per tab, what they show as HTML, and how it looks."""
