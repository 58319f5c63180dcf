"""Say what each runtime executes best, and which groups of operators it executes as one: data, one row each."""
