"""What people look at: pictures, panels and tables."""
