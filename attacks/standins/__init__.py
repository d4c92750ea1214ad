"""Models whose gradients come from something else than themselves; verdicts never do."""
