"""What a person asks for, checked before anything is loaded: suites, goals, eps. No torch."""
