"""Interventions: changes written into a model's activations, and what they do to its outputs and codes."""
