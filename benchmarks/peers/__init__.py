"""Everybody who trains the toy: ``train(toy)`` gives log-probabilities, [cell, 4, 10]."""
