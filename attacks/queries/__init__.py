"""How a model is asked for logits and gradients, and what is checked before."""
