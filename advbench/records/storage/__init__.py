"""Storage of records: written atomically, as Parquet, with a digest that reveals any damage."""
