"""How records are written: atomically, as Parquet, with a digest that shows any damage."""
