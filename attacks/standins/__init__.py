"""Models whose gradients, but never whose verdicts, come from a stand-in."""
