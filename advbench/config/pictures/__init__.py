"""What people say of the pictures that are attacked."""
