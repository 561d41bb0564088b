"""The paper's experiments with language models in miniature: small models, seeds, intervals."""
