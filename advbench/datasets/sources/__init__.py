"""How each kind of data set is read: a module for each, with the function that its card names."""
