"""The checks of `icrl check-family`, and what they are run on."""
