"""The reports that people read: tables, figures and pages."""
