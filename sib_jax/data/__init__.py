"""Data sets: each module gives the same thing, a `DataSet` of three `Split`s."""
