"""The transformer: tokens, encoders, heads, attention, its cache, the methods that train it, the agent that acts.

Nothing is imported here, so that `icrl.models.options` is there without torch.
"""
