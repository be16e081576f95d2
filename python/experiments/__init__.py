"""The experiments of docs/results.md: recipes, what measures their runs, and the tables. It is no part of the wheel."""
